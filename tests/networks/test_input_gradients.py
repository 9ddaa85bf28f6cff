"""Gradients in closed form equal those of autograd, and so do the gradients of weights that a penalty trains."""

import pytest
import torch
from torch import nn

from mnist_gen.networks import discriminators
from mnist_gen.networks.input_gradients import by_autograd
from mnist_gen.training.adversarial import scores_and_penalty

IMAGE, LATENT = (1, 32, 32), (6,)
MADE = {
    "images, leaky, projection": (
        lambda: discriminators.Discriminator(4, "leaky_relu", nn.Embedding(10, 3), True),
        IMAGE,
    ),
    "images, relu": (lambda: discriminators.Discriminator(4, "relu", nn.Embedding(10, 3), False), IMAGE),
    "images, no labels": (lambda: discriminators.Discriminator(4, "leaky_relu", None, False), IMAGE),
    "latents": (lambda: discriminators.LatentDiscriminator(6, 16, "leaky_relu", nn.Embedding(10, 3)), LATENT),
    "latents, no labels": (lambda: discriminators.LatentDiscriminator(6, 16, "relu", None), LATENT),
    "stacks": (lambda: discriminators.StackDiscriminator(2, 4), (2, 32, 32)),
    "groups": (lambda: discriminators.StackDiscriminator(1, 4, group=2), IMAGE),
    "patches": (lambda: discriminators.PatchDiscriminator(2, 4), (2, 32, 32)),
}


def made(name):
    torch.manual_seed(0)
    make, shape = MADE[name]
    network = make().double()
    if getattr(network, "project", None) is not None:
        nn.init.normal_(network.project.weight)
    labels = torch.tensor([3, 1, 3, 0, 9, 2]) if getattr(network, "label_vectors", None) is not None else None
    return network, torch.randn(6, *shape, dtype=torch.double), labels


@pytest.mark.parametrize("name", MADE)
def test_closed_form_equals_autograd(name):
    network, points, labels = made(name)
    weights = list(network.parameters())
    found = []
    for scores, gradients in (
        network.scores_and_gradients(points, labels, 4),
        by_autograd(network, points, labels, 4),
    ):
        loss = scores.exp().sum() + gradients.square().sum()
        of_weights = torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True)
        found.append([scores, gradients, *of_weights])
    assert found[0][1].shape == (4, *points.shape[1:])
    assert any(gradient.any() for gradient in found[0][2:])
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["images, leaky, projection", "latents", "stacks", "patches"])
def test_closed_form_has_no_double_backward(name, monkeypatch):
    network, points, labels = made(name)
    monkeypatch.setattr(torch.autograd, "grad", None)
    network.scores_and_gradients(points, labels, 4)[1].square().sum().backward()


@pytest.mark.parametrize("share", [1.0, 0.5, 1e-3])
@pytest.mark.parametrize("name", ["images, leaky, projection", "stacks"])
def test_a_share_of_the_batch_is_penalised(name, share):
    network, points, labels = made(name)
    labels = None if labels is None else labels[:3]
    real, fake = points.chunk(2)
    *scores, penalty = scores_and_penalty(network, real, fake, labels, r1=2.0, r2=6.0, share=share)
    count = {1.0: 3, 0.5: 2, 1e-3: 1}[share]
    norms = []
    for images, found in zip((real, fake), scores, strict=True):
        expected, gradients = by_autograd(network, images.clone(), labels, 3)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
        norms.append(gradients.flatten(1).square().sum(dim=1)[:count].mean().item())
    assert penalty.item() == pytest.approx(norms[0] + 3 * norms[1])


def test_no_penalty():
    network, points, labels = made("images, leaky, projection")
    real, fake = points.chunk(2)
    assert scores_and_penalty(network, real, fake, labels[:3], 0.0, 0.0, share=0.5)[2] == 0
