"""Spaces in which the adversarial game is played."""

import torch

from mnist_gen.gan.spaces import Codes, Pixels
from mnist_gen.networks.decoders import Decoder
from mnist_gen.networks.encoders import Encoder

IMAGES = torch.rand(30, 1, 32, 32)


def test_pixels_there_and_back():
    points = Pixels().enter(IMAGES)
    assert points.min() < -0.9
    assert torch.allclose(Pixels().leave(points), IMAGES, atol=1e-6)


def test_codes_are_the_autoencoders_standardised():
    encoder, decoder = Encoder(5), Decoder(5)
    space = Codes(5, Encoder, Decoder)
    space.start_from(encoder, decoder)
    space.fit(IMAGES)
    points = space.enter(IMAGES)
    assert torch.allclose(points.mean(dim=0), torch.zeros(5), atol=1e-5)
    assert torch.allclose(points.std(dim=0), torch.ones(5), atol=1e-4)
    assert torch.allclose(space.leave(points), decoder(encoder(IMAGES)).sigmoid(), atol=1e-5)


def test_codes_never_learn():
    space = Codes(5, Encoder, Decoder).train()
    assert not any(weight.requires_grad for weight in space.parameters())
    assert not any(module.training for module in space.modules())
