"""Renderings: deterministic maps from images (N, 1, 32, 32) in [0, 1] to images of the same shape."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from mnist_gen.data import IMAGE_SIZE
from mnist_gen.errors import check_divisor


class Texture:
    """Dark digits on a background with a pattern of this darkness, from 0 to 1, and period in pixels."""

    def __init__(self, depth: float, period: float) -> None:
        waves = (torch.arange(IMAGE_SIZE) * (2 * math.pi / period)).sin()
        self.ground = 1 - depth * (1 + waves[:, None] * waves[None, :]) / 2  # (32, 32)

    def __call__(self, images: Tensor) -> Tensor:
        return (1 - images) * self.ground.to(images.device)


@dataclass(frozen=True)
class Outline:
    """A line around each stroke, `width` pixels wide: local maximum minus image."""

    width: int

    def __call__(self, images: Tensor) -> Tensor:
        return F.max_pool2d(images, 2 * self.width + 1, stride=1, padding=self.width) - images


class Slant:
    """Rotates all images counterclockwise, and shears them by `shear` pixels to the right per row upwards."""

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
    """Coarse blocks of `block` pixels a side, in a few shades of grey: many digits become indistinguishable."""

    def __init__(self, block: int, shades: int) -> None:
        check_divisor("data.rendering.block", block, IMAGE_SIZE)
        self.block, self.steps = block, shades - 1

    def __call__(self, images: Tensor) -> Tensor:
        means = F.avg_pool2d(images, self.block)  # (N, 1, 32 / block, 32 / block)
        return F.interpolate((means * self.steps).round() / self.steps, scale_factor=self.block)
