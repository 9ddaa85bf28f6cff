"""A run's curves."""

import pytest

from mnist_gen.training import curves
from tests.conftest import events, kept


def points(folder, tag):
    return [(event.step, event.value) for event in events(folder).Scalars(tag)]


def test_every_curve_counts_trained_batches(fit, tmp_path):
    fit(tmp_path, "experiment=cgan_embed20")
    tags = events(tmp_path).Tags()["scalars"]
    for name in ("loss_d", "loss_g", "lr_generator", "lr_discriminator", "images_per_second", "epoch"):
        assert [step for step, _ in points(tmp_path, f"train/{name}")] == [1, 2, 3, 4, 5, 6]
    assert [value for _, value in points(tmp_path, "train/epoch")] == [1, 1, 1, 2, 2, 2]
    assert all(value > 0 for _, value in points(tmp_path, "train/images_per_second"))
    for tag in (tag for tag in tags if tag.startswith("val/")):
        assert [step for step, _ in points(tmp_path, tag)] == [3, 6]
    for tag in (tag for tag in tags if tag.startswith("test/")):
        assert [step for step, _ in points(tmp_path, tag)] == [6]
    assert [event.step for event in events(tmp_path).Images("samples")] == [3]


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
