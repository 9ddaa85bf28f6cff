"""Renderings: deterministic maps from images (N, 1, 32, 32) in [0, 1] to images of the same shape."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mnist_gen.data import IMAGE_SIZE
from mnist_gen.errors import UserError, check_at_least


class Texture:
    """Dark digits on a patterned background.

    Args:
        depth: darkness of the pattern, from 0 (no pattern) to 1.
        period: of the pattern, in pixels.
    """

    def __init__(self, depth: float, period: float) -> None:
        if not 0 <= depth <= 1:
            raise UserError(f"data.rendering.depth={depth}: must be from 0 to 1.")
        if period <= 0:
            raise UserError(f"data.rendering.period={period}: must be above 0.")
        waves = (torch.arange(IMAGE_SIZE) * (2 * math.pi / period)).sin()
        self.ground = 1 - depth * (1 + waves[:, None] * waves[None, :]) / 2  # (32, 32)

    def __call__(self, images: Tensor) -> Tensor:
        return (1 - images) * self.ground.to(images.device)


class Outline:
    """A line around each stroke: local maximum minus image.

    Args:
        width: of the line, in pixels.
    """

    def __init__(self, width: int) -> None:
        check_at_least(1, "data.rendering", width=width)
        self.width = width

    def __call__(self, images: Tensor) -> Tensor:
        return F.max_pool2d(images, 2 * self.width + 1, stride=1, padding=self.width) - images


class Slant:
    """Rotates and shears all images identically.

    Args:
        degrees: counterclockwise rotation.
        shear: shift to the right, in pixels per row upwards.
    """

    def __init__(self, degrees: float, shear: float) -> None:
        angle = math.radians(degrees)
        cos, sin = math.cos(angle), math.sin(angle)
        # The inverse map, from output to input coordinates with y pointing down: undo the rotation, then the shear.
        self.rows = torch.tensor([[cos + shear * sin, shear * cos - sin, 0.0], [sin, cos, 0.0]])

    def __call__(self, images: Tensor) -> Tensor:
        rows = self.rows.to(images).expand(len(images), 2, 3)
        grid = F.affine_grid(rows, list(images.shape), align_corners=False)  # (N, 32, 32, 2)
        return F.grid_sample(images, grid, align_corners=False)


class Mosaic:
    """Coarse blocks in a few shades: many digits become indistinguishable.

    Args:
        block: side of a block in pixels, a divisor of 32.
        shades: number of grey levels, black and white included.
    """

    def __init__(self, block: int, shades: int) -> None:
        if block <= 0 or IMAGE_SIZE % block:
            raise UserError(f"data.rendering.block={block}: must be a divisor of {IMAGE_SIZE}.")
        check_at_least(2, "data.rendering", shades=shades)
        self.block, self.steps = block, shades - 1

    def __call__(self, images: Tensor) -> Tensor:
        means = F.avg_pool2d(images, self.block)  # (N, 1, 32 / block, 32 / block)
        return F.interpolate((means * self.steps).round() / self.steps, scale_factor=self.block)
