"""Classifiers on an encoder: what they learn, when they are kept, and the runs they make."""

import json
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mnist_gen.autoencoder import Autoencoder
from mnist_gen.errors import UserError
from mnist_gen.networks.decoders import Decoder
from mnist_gen.networks.encoders import Encoder
from mnist_gen.networks.heads import LinearHead, MLPHead
from mnist_gen.runs import checkpoint, pretrained
from mnist_gen.transfer import Transfer
from tests.conftest import composed, events, same_weights
from tests.transfer.conftest import TINY_RUN as FEW

ARMS = ("frozen", "finetune", "scratch")


def transfer(arm="frozen", head=LinearHead, **options) -> Transfer:
    settings = {
        "latent_dim": 64,
        "encoder": Encoder,
        "head": head,
        "arm": arm,
        "augment": 0.0,
        "noise": 0.0,
        "codes": "raw",
    }
    optimizer = partial(torch.optim.SGD, lr=0.1, weight_decay=0.3)
    settings |= {"views": 1, "optimizer": optimizer, "encoder_rate": 0.5, "ema_decay": 0.0}
    return Transfer(**{**settings, "draws": 2, "folds": 2, "patience": 3, **options})


def parameters(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def test_heads_are_as_large_as_they_say():
    assert parameters(LinearHead(64)) == 650
    mlp = MLPHead(64, hidden=32, dropout=0.5)
    assert parameters(mlp) == 64 * 32 + 32 + 32 * 10 + 10
    codes = torch.ones(4, 64)
    assert not torch.equal(mlp(codes), mlp(codes))  # dropout
    mlp.eval()
    assert torch.equal(mlp(codes), mlp(codes))


@pytest.mark.parametrize("arm", ARMS)
def test_what_learns_and_how_fast(arm):
    model = transfer(arm)
    groups = model.configure_optimizers().param_groups
    learning = [sum(weight.numel() for weight in group["params"]) for group in groups]
    classifiers = 2 * 3  # two draws, each with two folds left out and none
    assert learning == [classifiers * 650, classifiers * 103_440][: 1 if arm == "frozen" else 2]
    assert [group["lr"] for group in groups] == [0.1, 0.05][: len(groups)]
    assert [group["weight_decay"] for group in groups] == [0.3, 0.0][: len(groups)]
    assert (model.encoder is not None) == (arm == "frozen")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"arm": "composition"}, "model.arm=composition: choose one of frozen, finetune, scratch"),
        ({"views": 0}, "model.views=0: must be at least 1"),
        ({"patience": 0}, "model.patience=0: must be at least 1"),
        ({"augment": -1.0}, "model.augment=-1.0: must be at least 0"),
        ({"ema_decay": 1.0}, "model.ema_decay=1.0: must be at least 0 and below 1"),
        ({"codes": "whitened"}, "model.codes=whitened: by no changes; set model.augment, model.noise"),
        ({"codes": "white"}, "model.codes=white: choose one of raw, standardized, whitened"),
    ],
)
def test_impossible_settings_are_refused(option, message):
    with pytest.raises(UserError, match=message):
        transfer(**option)


def batch(labels=4):
    torch.manual_seed(0)
    images = torch.rand(2, labels, 1, 32, 32)
    folds = torch.tensor([[0, 1] * (labels // 2)] * 2)
    return images, torch.arange(2 * labels).view(2, labels) % 10, folds, torch.arange(labels)


def test_a_classifier_does_not_see_the_fold_it_leaves_out():
    model = transfer("scratch")
    images, labels, folds, positions = batch()

    def gradients(images):
        model.zero_grad()
        model.training_step((images, labels, folds, positions), 0)["loss"].backward()
        return [member.head[0].weight.grad.clone() for member in model.groups[0]]

    changed = images.clone()
    changed[0, folds[0] == 1] = 0
    before, after = gradients(images), gradients(changed)
    assert not torch.equal(before[0], after[0])  # leaves out fold 0, sees fold 1
    assert torch.equal(before[1], after[1])
    assert not torch.equal(before[2], after[2])  # leaves out nothing


def test_draws_do_not_touch_each_other():
    model = transfer("scratch")
    images, labels, folds, positions = batch()
    model.done[1] = True
    model.training_step((images, labels, folds, positions), 0)["loss"].backward()
    assert all(weight.grad is not None for member in model.groups[0] for weight in member.parameters())
    assert all(weight.grad is None for member in model.groups[1] for weight in member.parameters())


def test_the_best_epoch_is_kept_and_patience_ends_a_draw():
    model = transfer(patience=2)
    model._trainer = SimpleNamespace(current_epoch=0)
    bias = lambda draw: model.best[draw].head[0].bias[0].item()  # noqa: E731
    for epoch, losses in enumerate([[3.0, 3.0], [2.0, 4.0], [2.5, 5.0], [1.0, 1.0]]):
        model._trainer.current_epoch = epoch
        for group in model.groups:
            group[-1].head[0].bias.data.fill_(epoch)
        model._keep_better(torch.tensor(losses))
        assert model.done.tolist() == [False, epoch >= 2]
    assert model.best_epoch.tolist() == [4, 1]
    assert (bias(0), bias(1)) == (3, 0)  # the second draw was done before its loss fell again


def test_averages_are_judged_and_kept(monkeypatch):
    model = transfer("finetune", ema_decay=0.75)
    assert len(model.configure_optimizers().param_groups[0]["params"]) == 2 * 3 * 2  # the averages do not learn
    weights = [member.head[0].weight for group in model.groups for member in group]
    averages = [member.head[0].weight for group in model.judged for member in group]
    before = [average.clone() for average in averages]
    model.done[1] = True
    monkeypatch.setattr(Transfer, "global_step", 1000)
    monkeypatch.setattr("lightning.LightningModule.optimizer_step", lambda *_: [w.data.add_(1.0) for w in weights])
    model.optimizer_step()
    moved = [(average - old).mean().item() for average, old in zip(averages, before, strict=True)]
    assert moved == pytest.approx([0.25] * 3 + [0.0] * 3)
    model._trainer = SimpleNamespace(current_epoch=0)
    model._keep_better(torch.tensor([1.0, 1.0]))
    assert torch.equal(model.best[0].head[0].weight, averages[2])


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_averages_start_from_the_autoencoder_too(ema_decay):
    autoencoder = Autoencoder(64, Encoder, Decoder, torch.optim.Adam, 0, 1.0)
    model = transfer("finetune", ema_decay=ema_decay)
    model.start_from(autoencoder)
    assert torch.equal(model.judged[1][2].encoder.network[0].weight, autoencoder.encoder[0].weight)
    assert len(model.averaged) == (2 * 3 if ema_decay else 0)


@pytest.mark.parametrize("arm", ["frozen", "finetune"])
def test_starting_from_an_autoencoder(arm):
    autoencoder = Autoencoder(64, Encoder, Decoder, torch.optim.Adam, 0, 1.0)
    model = transfer(arm)
    model.start_from(autoencoder)
    images = torch.rand(3, 1, 32, 32)
    assert len(model._encoders()) == (1 if arm == "frozen" else 2 * 3 + 2)
    for encoder in model._encoders():
        assert torch.equal(encoder(images), autoencoder.encode(images))


def test_scratch_encoders_all_differ():
    images = torch.rand(3, 1, 32, 32)
    codes = [member.encoder(images) for group in transfer("scratch").groups for member in group]
    assert not any(torch.equal(codes[0], other) for other in codes[1:])


def test_codes_are_whitened_without_labels(fit, tmp_path, pretrained):
    words = ["experiment=transfer_linear_frozen", *FEW, f"pretrained.folder={pretrained}"]
    fit(tmp_path / "run", *words, tiny=False)
    model = checkpoint.load(tmp_path / "run/checkpoints/last.ckpt")
    assert model.encoder.mean.abs().max() > 0
    assert not torch.equal(model.encoder.whitening, torch.eye(64))


@pytest.mark.parametrize(("head", "arm"), [("linear", "frozen"), ("mlp", "finetune"), ("linear", "scratch")])
def test_every_arm_runs(made, tmp_path, pretrained, head, arm):
    words = [f"experiment=transfer_{head}_{arm}", *FEW, "data.draws=2", f"pretrained.folder={pretrained}"]
    folder = made(tmp_path / "run", *words, tiny=False)
    record = json.loads((folder / "metrics.json").read_text())
    metrics = record["metrics"]
    draws = json.loads((folder / "draws.json").read_text())
    assert draws["seeds"] == [0, 1]
    assert metrics["test/accuracy"] == pytest.approx(sum(draws["accuracy"]) / 2)
    assert metrics["test/accuracy_worst"] == pytest.approx(min(draws["accuracy"]))
    assert {f"test/f1_{digit}" for digit in range(10)} | {"train/accuracy", "test/f1_macro"} <= metrics.keys()
    assert {path.name for path in (folder / "figures").iterdir()} == {
        "losses.png", "loss.png", "accuracy.png", "confusion.png"
    }  # fmt: skip
    log = events(folder)
    for tag in ("train/cross_entropy", "val/loss", "held_out/accuracy", "learnt/loss"):
        assert [event.step for event in log.Scalars(tag)] == [1, 2, 3]
    assert [event.step for event in log.Images("confusion")] == [3]  # epochs, as the curves
    assert any(tag.startswith("report/test") for tag in log.Tags()["tensors"])
    model = checkpoint.load(folder / "checkpoints/last.ckpt")
    logits = model(torch.rand(5, 1, 32, 32))
    assert logits.shape == (2, 5, 10)
    moved = record["config"]["model"]["encoder"]["_target_"]
    assert moved == "mnist_gen.networks.encoders.Encoder"


@pytest.mark.parametrize(("arm", "stop"), [("frozen", 3), ("finetune", 4)])  # inside an epoch of two, at its end
def test_an_interrupted_run_goes_on_to_the_same_end(fit, made, tmp_path, pretrained, interrupted, arm, stop):
    words = [f"experiment=transfer_mlp_{arm}", *FEW, "data.draws=2", f"pretrained.folder={pretrained}"]
    whole, stopped = made(tmp_path / "whole", *words, tiny=False), tmp_path / "stopped"
    with interrupted(Transfer, stop):
        fit(stopped, *words, tiny=False)
    fit(stopped, *words, tiny=False)
    assert same_weights(whole, stopped)
    assert json.loads((whole / "draws.json").read_text()) == json.loads((stopped / "draws.json").read_text())


def test_the_last_checkpoint_is_of_the_last_epoch(fit, tmp_path):
    words = ["experiment=transfer_linear_scratch", *FEW, "model.patience=1", "trainer.max_epochs=30"]
    fit(tmp_path / "run", *words, "model.optimizer.lr=5.0", tiny=False)  # soon worse: patience ends it
    last = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    epochs = len(last["history"]["val/loss"])
    assert epochs < 30
    assert epochs % 10  # not by its turn
    assert last["epoch"] == epochs - 1


def test_ten_labels_cannot_be_left_out_and_training_goes_on(fit, tmp_path):
    words = ["experiment=transfer_linear_scratch", *FEW, "data.labels=10"]
    fit(tmp_path / "run", *words, tiny=False)
    history = json.loads((tmp_path / "run/draws.json").read_text())["history"]
    assert "held_out/loss" not in history
    assert len(history["learnt/loss"]) == 3


def test_a_classifier_that_would_leave_out_nothing_does_not_learn(fit, tmp_path):
    words = ["experiment=transfer_linear_scratch", *FEW, "data.held_out=1", "trainer.max_epochs=1"]
    fit(tmp_path / "run", *words, tiny=False)
    model = checkpoint.load(tmp_path / "run/checkpoints/last.ckpt")
    seen = [member.encoder.network[0].weight for member in model.groups[0]]
    cfg = pretrained.complete(composed(*words))
    torch.manual_seed(0)
    fresh = [member.encoder.network[0].weight for member in checkpoint.instantiate(cfg.model).groups[0]]
    assert [not torch.equal(a, b) for a, b in zip(seen, fresh, strict=True)] == [True, False, True]
