"""The models in the package themselves."""

import numpy as np
import pytest
import torch
from PIL import Image

import mnist_gen
from mnist_gen.data.mnist import to_images
from mnist_gen.errors import UserError
from mnist_gen.evaluation import fidelity
from mnist_gen.evaluation.scorer import load_scorer
from mnist_gen.inference import pictures, stored
from mnist_gen.inference.export import network
from mnist_gen.runs import layout

NAMES = ("autoencoder", "autoencoder_wide", "cgan", "classifier", "outlines")


def test_they_are_small_and_described():
    assert tuple(layout.PACKAGED) == NAMES
    assert sum(path.stat().st_size for path in layout.MODELS.iterdir()) < 4e6
    for name, what in mnist_gen.models().items():
        assert what.endswith(".")
        about = stored.about(layout.packaged(name))
        assert {"experiment", "seed", "commit", "finished", "processor", "versions", "metrics"} <= about.keys()
        assert not about["commit"].endswith("dirty")
        assert any(metric.startswith("test/") for metric in about["metrics"])


@pytest.mark.parametrize("name", NAMES)
def test_they_work(name):
    wanted = network(mnist_gen.load(name))
    made = wanted.module(*wanted.inputs(3).values())
    assert made.isfinite().all()
    assert made.min() >= 0
    assert made.max() <= 1


def test_the_generator_draws_the_requested_digits():
    images = mnist_gen.load("cgan").sample(digit=range(10), count=50)
    _, read = fidelity.features_and_digits(load_scorer(None, "MNIST"), images)
    assert (read == torch.arange(10).repeat_interleave(50)).float().mean() > 0.98
    assert images.unique(dim=0).shape[0] == 500


def test_the_classifier_reads_and_the_autoencoders_restore_test_images(real):
    images, labels = to_images(real["test"][0][:1000]), real["test"][1][:1000]
    assert (mnist_gen.load("classifier").probabilities(images).argmax(dim=1) == labels).float().mean() > 0.98
    assert (mnist_gen.load("autoencoder")(images) - images).abs().mean() < 0.02
    assert (
        mnist_gen.load("autoencoder_wide")(images) - images
    ).abs().mean() < 0.08  # it also moves and turns digits back


@pytest.mark.slow
def test_a_thousand_test_images_are_read_from_jpegs_of_them(real, tmp_path):
    raw, labels = real["test"][0][:1000], real["test"][1][:1000]
    random, seen = np.random.default_rng(0), []
    for image in raw.numpy():
        canvas = np.full((280, 280), 255, np.uint8)
        size = int(random.integers(100, 200))
        left, top = random.integers(0, 280 - size, 2)
        digit = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
        canvas[top : top + size, left : left + size] = 255 - np.asarray(digit)
        Image.fromarray(canvas).save(tmp_path / "digit.jpg")
        ((_, image),) = pictures.read_all([tmp_path / "digit.jpg"])
        seen.append(torch.zeros(1, 32, 32) if isinstance(image, UserError) else image)  # refused: as good as wrong
    read = mnist_gen.load("classifier").probabilities(torch.stack(seen)).argmax(dim=1)
    assert (read == labels).float().mean() >= 0.97
