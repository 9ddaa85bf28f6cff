"""A run's curves."""

import pytest

from mnist_gen.evaluation.dashboard import tag_of
from mnist_gen.gan import GAN
from mnist_gen.training import curves
from mnist_gen.training.optimization import set_rates
from tests.conftest import events, kept, same_run


def points(folder, tag):
    return [(event.step, event.value) for event in events(folder).Scalars(tag_of(tag))]


def test_every_curve_counts_trained_batches(fit, tmp_path):
    fit(tmp_path, "experiment=cgan_embed20")
    tags = events(tmp_path).Tags()["scalars"]
    assert [*dict.fromkeys(sorted(tag.partition("/")[0] for tag in tags))] == [
        "losses", "quality", "run", "test", "test_digits", "val_digits"
    ]  # fmt: skip
    steps = {"losses": [1, 2, 3, 4, 5, 6], "run": [1, 2, 3, 4, 5, 6], "quality": [3, 6], "val_digits": [3, 6]}
    for tag in tags:
        assert [event.step for event in events(tmp_path).Scalars(tag)] == steps.get(tag.partition("/")[0], [6])
    names = ("lr_generator", "lr_discriminator", "images_per_second", "epoch")
    assert {tag for tag in tags if tag.startswith("run/")} == {f"run/{name}" for name in names}
    assert [value for _, value in points(tmp_path, "run/epoch")] == [1, 1, 1, 2, 2, 2]
    assert all(value > 0 for _, value in points(tmp_path, "run/images_per_second"))
    drawn = sorted(event.step for event in events(tmp_path).Images("pictures/grid"))
    assert drawn == [3, 6]  # the second is the tested checkpoint


def test_points_are_means_and_epochs_are_means_of_all(fit, tmp_path, monkeypatch):
    fit(tmp_path / "all", "experiment=cgan_embed20")
    monkeypatch.setattr(curves, "POINTS", 3)
    fit(tmp_path / "few", "experiment=cgan_embed20")
    single = dict(points(tmp_path / "all", "train/loss_g"))
    grouped = {2: (1, 2), 3: (3,), 4: (4,), 6: (5, 6)}  # every second batch, and each epoch's last
    expected = [(step, sum(single[batch] for batch in batches) / len(batches)) for step, batches in grouped.items()]
    assert points(tmp_path / "few", "train/loss_g") == [(step, pytest.approx(value)) for step, value in expected]
    for folder in ("all", "few"):
        history = kept(tmp_path / folder)["callbacks"]["Curves"]["history"]["train/loss_g"]
        assert history == [
            (1, pytest.approx(sum(single[batch] for batch in (1, 2, 3)) / 3)),
            (2, pytest.approx(sum(single[batch] for batch in (4, 5, 6)) / 3)),
        ]


def test_a_run_stopped_inside_a_point_has_the_same_curves(fit, tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "POINTS", 1)  # a point per epoch
    words = ("experiment=cgan_embed20", "callbacks.last.every_seconds=1e-9")
    fit(tmp_path / "whole", *words)

    def stop(model, batch, batch_idx):
        if model.global_step == 2 * 5:  # after two batches of the second epoch
            raise RuntimeError("a crash")
        set_rates(model)

    with monkeypatch.context() as patch:
        patch.setattr(GAN, "on_train_batch_start", stop)
        with pytest.raises(RuntimeError, match="a crash"):
            fit(tmp_path / "parts", *words)
    assert kept(tmp_path / "parts")["callbacks"]["Curves"]["point_batches"] == 2
    fit(tmp_path / "parts", f"ckpt={tmp_path / 'parts/checkpoints/last.ckpt'}")
    same_run(tmp_path / "whole", tmp_path / "parts")
    for tag in ("train/loss_d", "train/loss_g"):
        assert points(tmp_path / "parts", tag) == points(tmp_path / "whole", tag)
