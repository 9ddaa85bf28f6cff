"""Other renderings of digits: fixed maps of images (N, 1, 32, 32) in [0, 1] to such images, the same for each image."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mnist_gen.data.mnist import IMAGE_SIZE
from mnist_gen.errors import UserError


class Texture:
    """Dark digits on woven ground: inverted, and the ground patterned.

    Args:
        depth: how dark the pattern gets, from 0, none, to 1.
        period: of the pattern, in pixels.
    """

    def __init__(self, depth: float, period: float) -> None:
        _check(0 <= depth <= 1, f"depth={depth}: must be from 0 to 1.")
        _check(period > 0, f"period={period}: must be above 0.")
        waves = (torch.arange(IMAGE_SIZE) * (2 * math.pi / period)).sin()
        self.ground = 1 - depth * (1 + waves[:, None] * waves[None, :]) / 2  # (32, 32)

    def __call__(self, images: Tensor) -> Tensor:
        return (1 - images) * self.ground.to(images.device)


class Outline:
    """A line around each stroke: how much brighter it gets within reach.

    Args:
        width: of the line, in pixels.
    """

    def __init__(self, width: int) -> None:
        _check(width > 0, f"width={width}: must be at least 1.")
        self.width = width

    def __call__(self, images: Tensor) -> Tensor:
        return F.max_pool2d(images, 2 * self.width + 1, stride=1, padding=self.width) - images


class Slant:
    """Turned and sheared, the same way each.

    Args:
        degrees: of the turn, to the left.
        shear: pixels that a line moves to the right, by each line that it lies higher.
    """

    def __init__(self, degrees: float, shear: float) -> None:
        angle = math.radians(degrees)
        cos, sin = math.cos(angle), math.sin(angle)
        # The inverse map, from output to input coordinates, y pointing down: turn back, then shear back.
        self.rows = torch.tensor([[cos + shear * sin, shear * cos - sin, 0.0], [sin, cos, 0.0]])

    def __call__(self, images: Tensor) -> Tensor:
        rows = self.rows.to(images).expand(len(images), 2, 3)
        grid = F.affine_grid(rows, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, align_corners=False)


class Mosaic:
    """Coarse blocks, each of its mean in a few shades: many digits look the same.

    Args:
        block: side of a block in pixels, a divisor of 32.
        shades: from black to white.
    """

    def __init__(self, block: int, shades: int) -> None:
        _check(block > 0 and IMAGE_SIZE % block == 0, f"block={block}: must be a divisor of {IMAGE_SIZE}.")
        _check(shades > 1, f"shades={shades}: must be at least 2.")
        self.block, self.steps = block, shades - 1

    def __call__(self, images: Tensor) -> Tensor:
        means = F.avg_pool2d(images, self.block)
        return F.interpolate((means * self.steps).round() / self.steps, scale_factor=self.block)


def _check(good: bool, complaint: str) -> None:
    if not good:
        raise UserError(f"data.rendering.{complaint}")
