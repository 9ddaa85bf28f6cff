"""Sampling, and paths between digits."""

import pytest
import torch

import mnist_gen
from mnist_gen.errors import UserError
from mnist_gen.evaluation.scorer import load_scorer
from mnist_gen.inference.sampling import LATENTS
from mnist_gen.interpolation.paths import sampled_latents


def test_several_digits_share_their_latents(package):
    model = mnist_gen.load("cgan")
    both = model.sample(digit=[1, 7], count=3, seed=2)
    assert both.shape == (6, 1, 32, 32)
    assert torch.allclose(both[:3], model.sample(digit=1, count=3, seed=2), atol=1e-5)
    assert torch.allclose(both[3:], model.sample(digit=7, count=3, seed=2), atol=1e-5)
    assert not torch.allclose(both[:3], both[3:], atol=1e-3)
    with pytest.raises(UserError, match=r"digit=\[1, 10\]: choose 0 to 9"):
        model.sample(digit=[1, 10])
    with pytest.raises(UserError, match=r"digit=\[\]: choose 0 to 9"):
        model.sample(digit=[])


def test_a_path_between_labels_keeps_the_latent(package):
    model = mnist_gen.load("cgan")
    paths = mnist_gen.interpolate(model, 1, 7, steps=5, count=3, between="labels", seed=4)
    assert paths.shape == (3, 5, 1, 32, 32)
    latents = model.latents(3, torch.Generator().manual_seed(4))
    for step, digit in ((0, 1), (-1, 7)):
        assert torch.allclose(paths[:, step], model.generate(latents, torch.full((3,), digit)), atol=1e-5)
    assert not torch.equal(paths[:, 1], paths[:, 2])


def test_a_path_between_latents_changes_the_latent_too(package):
    model = mnist_gen.load("cgan")
    paths = mnist_gen.interpolate(model, 3, 3, steps=4, count=2, between="latents", seed=4)
    assert paths.shape == (2, 4, 1, 32, 32)
    assert (paths[:, 0] - paths[:, -1]).abs().max() > 0.01
    assert (mnist_gen.interpolate(model, 3, 3, steps=4, count=2, seed=4)[:, 0] - paths[:, 0]).abs().max() < 1e-5


def test_a_gan_without_labels_takes_latents_whose_images_show_the_digits(package):
    model = mnist_gen.load("plain_gan")
    paths = mnist_gen.interpolate(model, 1, 7, steps=3, count=2, between="latents")
    assert paths.shape == (2, 3, 1, 32, 32)
    sampled = sampled_latents(model, LATENTS, load_scorer(None, "MNIST"), seed=0)
    for digit, ends in ((1, paths[:, 0]), (7, paths[:, -1])):
        distances = torch.cdist(ends.flatten(1), sampled.images[sampled.digits == digit].flatten(1))
        assert distances.min(dim=1).values.max() < 1e-2
    with pytest.raises(UserError, match="between=labels: this GAN was trained without labels; use between=latents"):
        mnist_gen.interpolate(model, 1, 7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": 10}, "to=10: choose 0 to 9"),
        ({"digit": -1}, "digit=-1: choose 0 to 9"),
        ({"steps": 1}, "steps=1: must be at least 2"),
        ({"between": "images"}, "between=images"),
    ],
)
def test_impossible_paths_are_refused(package, options, message):
    with pytest.raises(UserError, match=message):
        mnist_gen.interpolate(mnist_gen.load("cgan"), **{"digit": 1, "to": 7, **options})
