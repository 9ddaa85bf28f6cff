"""Tokens, positions and blocks of image transformers."""

import math

import pytest
import torch
from torch import nn

from mnist_gen.errors import UserError
from mnist_gen.networks.transformer import (
    BASE,
    Block,
    CentredWindows,
    GridPositions,
    ImageTransformer,
    NoPositions,
    Patches,
    RasterPositions,
    sinusoidal,
)


def small(tokens, positions, norm=True) -> ImageTransformer:
    torch.manual_seed(0)
    return ImageTransformer(tokens, positions, 1, dim=8, depth=2, heads=2, hidden=16, norm=norm).eval()


def test_windows_around_each_pixel():
    image = torch.arange(20.0).view(1, 1, 4, 5)
    windows = CentredWindows(3)
    tokens = windows(image)
    assert windows.grid(image) == (4, 5)
    assert tokens.shape == (1, 20, 9)
    assert torch.equal(tokens[0, :, 4], image.flatten())  # the centre of each window
    assert tokens[0, 0].tolist() == [0, 0, 0, 0, 0, 1, 0, 5, 6]  # zero outside
    assert torch.equal(CentredWindows(1)(image)[0, :, 0], image.flatten())


def test_patches_tile_the_image():
    image = torch.arange(24.0).view(1, 1, 4, 6)
    patches = Patches(2)
    assert patches.grid(image) == (2, 3)
    assert patches(image)[0, 1].tolist() == [2, 3, 8, 9]
    assert sorted(patches(image).flatten().tolist()) == list(range(24))


def test_sinusoidal_positions_as_in_the_student_report():
    encoding = sinusoidal(torch.arange(7.0), 6)
    for position in range(7):
        for i in range(3):
            angle = position / BASE ** (2 * i / 6)
            assert encoding[position, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert encoding[position, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)
    assert torch.equal(RasterPositions()((2, 3), 6), sinusoidal(torch.arange(6.0), 6))
    assert torch.equal(
        GridPositions()((2, 3), 8)[5], torch.cat([sinusoidal(torch.tensor([p]), 4)[0] for p in (1.0, 2.0)])
    )


def test_one_rotation_shifts_all_positions():
    encoding = sinusoidal(torch.arange(50, dtype=torch.float64), 8)
    step = 7
    angles = [step / BASE ** (2 * i / 8) for i in range(4)]
    rotations = [torch.tensor([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]]).double() for a in angles]
    rotation = torch.block_diag(*rotations)
    assert torch.allclose(encoding[:-step] @ rotation.T, encoding[step:], atol=1e-12)


def test_without_positions_tokens_are_permuted_with_the_pixels():
    pixels, order = torch.rand(3, 1, 4, 4), torch.randperm(16)
    shuffled = pixels.flatten(2)[:, :, order].view_as(pixels)
    with torch.no_grad():
        without = small(CentredWindows(1), NoPositions())
        assert torch.allclose(without(shuffled), without(pixels)[:, order], atol=1e-6)  # equivariant
        assert not torch.allclose(without(shuffled), without(pixels), atol=1e-2)  # not invariant
        raster = small(CentredWindows(1), RasterPositions())
        assert not torch.allclose(raster(shuffled), raster(pixels)[:, order], atol=1e-2)


@pytest.mark.parametrize("positions", [NoPositions(), RasterPositions(), GridPositions()])
@pytest.mark.parametrize("tokens", [CentredWindows(1), CentredWindows(3), Patches(4)])
def test_images_of_any_size(tokens, positions):
    model = small(tokens, positions)
    for side in (28, 32):
        images = torch.rand(1, 1, side, side)
        assert model(images).shape == (1, math.prod(tokens.grid(images)), 8)


def test_scores_direct_attention():
    torch.manual_seed(0)
    block = Block(4, heads=2, hidden=8, norm=False)
    with torch.no_grad():
        block.attention.in_proj_weight[:8] = 0  # attention ignores what tokens hold
        block.feed_forward[2].weight.zero_()
        block.feed_forward[2].bias.zero_()
        tokens = torch.randn(2, 3, 4)
        scores = torch.full((2, 3, 3), -1e9)
        scores[:, :, 1] = 0  # all attend to the second token
        change = block(tokens, scores) - tokens
        values = tokens[:, 1] @ block.attention.in_proj_weight[8:].T
        expected = values @ block.attention.out_proj.weight.T
    assert torch.allclose(change, expected.unsqueeze(1).expand_as(change), atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: CentredWindows(4),
            "model.network.tokens.size=4: must be odd, for a window with a pixel at its centre",
        ),
        (
            lambda: Patches(5).grid(torch.zeros(1, 1, 28, 28)),
            "model.network.tokens.size=5: must be a divisor of 28, a side of the images",
        ),
        (lambda: Block(8, 3, 16), "model.network.heads=3: must be a divisor of model.network.dim=8"),
        (lambda: RasterPositions()((2, 2), 5), "model.network.dim=5: must be even"),
        (lambda: GridPositions()((2, 2), 6), "model.network.dim=6: must be a multiple of 4"),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_images_with_other_channels_are_refused():
    with pytest.raises(UserError, match="model.network.channels=1: the images have 3"):
        small(Patches(4), GridPositions())(torch.rand(1, 3, 8, 8))


def test_number_of_parameters():
    model = small(CentredWindows(3), GridPositions())
    attention, norms, feed_forward = 4 * (8 * 8 + 8), 2 * 2 * 8, 8 * 16 + 16 + 16 * 8 + 8
    assert (
        sum(weight.numel() for weight in model.parameters())
        == 9 * 8 + 8 + 2 * (attention + norms + feed_forward) + 2 * 8
    )
    assert isinstance(small(CentredWindows(3), GridPositions(), norm=False).norm, nn.Identity)
