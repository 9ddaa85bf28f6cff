"""Spaces of an adversarial game."""

import torch

from mnist_gen.gan.spaces import LatentSpace, PixelSpace
from mnist_gen.networks.decoders import Decoder
from mnist_gen.networks.encoders import Encoder

IMAGES = torch.rand(30, 1, 32, 32)


def test_pixel_space_round_trip():
    points = PixelSpace().enter(IMAGES)
    assert points.min() < -0.9
    assert torch.allclose(PixelSpace().leave(points), IMAGES, atol=1e-6)


def test_latent_space_standardises_the_autoencoders_latents():
    encoder, decoder = Encoder(5), Decoder(5)
    space = LatentSpace(5, Encoder, Decoder)
    space.start_from(encoder, decoder)
    space.fit(IMAGES)
    points = space.enter(IMAGES)
    assert torch.allclose(points.mean(dim=0), torch.zeros(5), atol=1e-5)
    assert torch.allclose(points.std(dim=0), torch.ones(5), atol=1e-4)
    assert torch.allclose(space.leave(points), decoder(encoder(IMAGES)).sigmoid(), atol=1e-5)


def test_latent_space_never_trains():
    space = LatentSpace(5, Encoder, Decoder)
    assert not any(weight.requires_grad for weight in space.parameters())
    assert not any(module.training for module in space.modules())
