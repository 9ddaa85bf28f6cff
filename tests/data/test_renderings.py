import pytest
import torch

from mnist_gen.data.renderings import Mosaic, Outline, Slant, Texture
from mnist_gen.errors import UserError


def dot(row: int, column: int) -> torch.Tensor:
    image = torch.zeros(1, 1, 32, 32)
    image[0, 0, row, column] = 1.0
    return image


def place(image: torch.Tensor) -> tuple[float, float]:
    """The row and column of an image's center of mass, relative to the image's center."""
    at = torch.arange(32.0) - 15.5
    light = image[0, 0] / image.sum()
    return (light.sum(dim=1) @ at).item(), (light.sum(dim=0) @ at).item()


def test_texture_is_dark_on_a_patterned_background():
    texture = Texture(depth=0.5, period=4.0)
    ground = texture(torch.zeros(1, 1, 32, 32))
    assert ground.min() == pytest.approx(0.5, abs=1e-6)
    assert ground.max() == pytest.approx(1.0, abs=1e-6)
    assert torch.allclose(ground[..., 4:, 4:], ground[..., :-4, :-4], atol=1e-5)
    assert texture(dot(3, 5))[0, 0, 3, 5] == 0.0
    assert torch.equal(Texture(depth=0.0, period=4.0)(dot(3, 5)), 1 - dot(3, 5))


def test_an_outline_surrounds_the_stroke():
    line = Outline(width=1)(dot(10, 10))
    assert line.sum() == 8
    assert line[0, 0, 10, 10] == 0
    assert Outline(width=2)(dot(10, 10)).sum() == 24


def test_a_slant_turns_to_the_left_and_shears_to_the_right():
    assert torch.allclose(Slant(0.0, 0.0)(dot(3, 5)), dot(3, 5), atol=1e-5)
    row, column = place(Slant(90.0, 0.0)(dot(10, 15)))  # moves from above the center to its left
    assert (row, column) == pytest.approx((0.5, -5.5), abs=1e-3)
    row, column = place(Slant(0.0, 1.0)(dot(10, 15)))  # as far right as it is up
    assert (row, column) == pytest.approx((-5.5, 5.0), abs=1e-3)


def test_blocks_take_the_nearest_shade():
    image = torch.zeros(1, 1, 32, 32)
    image[:, :, :8, 8:16] = torch.tensor([0.2, 0.4]).repeat(4)  # mean 0.3 is nearest to 0.5
    image[:, :, 8:16, :8] = 0.8
    outputs = Mosaic(block=8, shades=3)(image)
    targets = torch.zeros(1, 1, 32, 32)
    targets[:, :, :8, 8:16], targets[:, :, 8:16, :8] = 0.5, 1.0
    assert torch.equal(outputs, targets)


def test_blocks_divide_an_image():
    with pytest.raises(UserError, match="data.rendering.block=5: must be a divisor of 32"):
        Mosaic(block=5, shades=2)
