"""What numbers of a configuration may be."""

import math

import pytest

from mnist_gen.errors import UserError
from mnist_gen.runs import limits


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("model.ema_decay", (0, 0.998), (1, 1.5, -0.1, "high", None, True, math.nan)),
        ("model.r1", (0, 2.5), (-5, math.inf, [1])),
        ("model.patience", (1, 20), (0, 2.5, 10**30, 20.0)),
        ("data.labels_seed", (0, None), (1.0, -1, 2**32, "abc")),
        ("data.train_images", (1, None), ("abc", 0, 55_001)),
        ("trainer.limit_test_batches", (1, 0.5, 1.0, None), (0, 0.0, 1.5, -1, True)),
        ("trainer.devices", (2, "auto"), (0, "two", 1.0)),
        ("model.generator_optimizer.lr", (1e-9, 10), (0, -1.0, 11)),
        ("model.generator_optimizer.betas", ([0, 0.99],), ([0.5], [0, 1], 0.5, [0.1, "a"], [0, 0.5, 0.9])),
        ("model.alpha", (0.5,), (0, 1)),
        ("model.latent_dim", (1,), (0, 4097)),
        ("seed", (0,), (-1, None)),
        ("trainer.max_epochs", (1,), (0,)),
        ("callbacks.draw.digit", (0, 9), (12, None)),
        ("callbacks.confusion.samples", (1,), (0,)),
        ("callbacks.metrics.val_samples", (6,), (0,)),
        ("callbacks.curves.together", (["loss"],), ([], "loss", [1])),
        ("callbacks.best.monitor", ("val/fid",), (5, "", None)),
        ("callbacks.metrics.scorer", (None, "a.safetensors"), ({"a": 1}, 1, "")),
        ("pretrained.ckpt", (None, "a.ckpt"), (1, [])),
        ("model.pseudo_labels", (None, {"count": 10}), (5, "codes")),
        ("model.label", (None, "onehot"), ("", 1, "one")),
        ("model.arm", ("frozen", "scratch"), ("frozn", None)),
        ("model.concat", ("before", "after"), ("middle",)),
        ("model.strategy.sees", ("nothing", "pairs"), ("all",)),
        ("data.pairing", ("paired", "unpaired"), ("random", 1)),
        ("study.digits", ([[1, 0]], []), ([1, 0], [[1, 10]], [[1, 0, 1]], [[1.0, 0]], [[[1], 0]])),
        ("callbacks.draw.at_epochs", ([20, "5%"], None), (20, [0], ["101%"], ["20"], [[1]])),
        ("out", ("a.png", None), (5,)),
        ("digit", (3, [1, 2], None), (10, [], [3, 12])),
        ("images", ("a.png", ["a.png", "b"], None), (5, [])),
        ("sweep", ("a", ["a", "b"], None), (5, [], [5])),
        ("added.by.a.user", (1, "a", None, True), (math.nan, math.inf)),
    ],
)
def test_values(key, good, bad):
    for value in good:
        limits.check_value(key, value)
    for value in bad:
        with pytest.raises(UserError, match=f"{key}="):
            limits.check_value(key, value)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("model.r1", -5, "model.r1=-5: must be a number from 0 to 1000000."),
        ("model.ema_decay", 1.5, "model.ema_decay=1.5: must be a number from 0 below 1."),
        ("model.optimizer.lr", 0, "model.optimizer.lr=0: must be a number above 0 and up to 10."),
        ("data.labels_seed", -1, "data.labels_seed=-1: must be a whole number from 0 to 4294967295, or null."),
        ("model.label", "one", "model.label=one: must be one of null, onehot, embedding."),
        ("trainer.devices", 0, "trainer.devices=0: must be a whole number from 1 to 1024, or auto."),
        ("sweep", 5, "sweep=5: must be non-empty text, or a list of at least 1, each non-empty text, or null."),
        ("count", 10**100, f"count=1{'0' * 56}...: must be a whole number from 1 to 100000."),
    ],
)
def test_what_is_said(key, value, says):
    with pytest.raises(UserError) as error:
        limits.check_value(key, value)
    assert str(error.value) == says


def test_nested_values_and_groups_are_reached():
    with pytest.raises(UserError, match=r"model\.generator_optimizer\.lr=-1"):
        limits.check({"model": {"generator_optimizer": {"lr": -1, "betas": [0.0, 0.9]}}})
    with pytest.raises(UserError, match=r"model\.pseudo_labels=5: must be a group of keys, or null"):
        limits.check({"model": {"pseudo_labels": 5}})
    limits.check({"model": {"r1": "${model.r2}"}})


def test_options_of_foreign_classes_need_only_be_finite():
    config = {
        "model": {"_target_": "my_package.Net", "alpha": 7.0, "optimizer": {"_target_": "torch.optim.Adam", "lr": 1}}
    }
    limits.check(config)
    config["model"]["optimizer"]["lr"] = -1
    with pytest.raises(UserError, match="model.optimizer.lr=-1: must be"):
        limits.check(config)
    with pytest.raises(UserError, match="model.alpha=inf: must be a finite number"):
        limits.check({"model": {"_target_": "my_package.Net", "alpha": float("inf")}})
