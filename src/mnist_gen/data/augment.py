"""Random augmentations of images (N, 1, H, W) in [0, 1], drawn separately for each image."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor


@contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """Seeds the random numbers inside the block, and restores the global random state after it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def random_affine(images: Tensor, strength: float) -> Tensor:
    """Rotates, scales, shears and shifts each image at random, with zeros outside; strength 0 changes nothing.

    At strength 1: rotation up to 12 degrees, scale up to 12 % in each direction, shear up to 0.2, shift up to 6 % of
    the side.
    """
    if strength == 0:
        return images

    def uniform(limit: float) -> Tensor:
        return (torch.rand(len(images), device=images.device) * 2 - 1) * limit * strength

    angle, shear = uniform(math.radians(12)), uniform(0.2)
    width, height = 1 + uniform(0.12), 1 + uniform(0.12)
    cos, sin = angle.cos(), angle.sin()
    rows = [  # the inverse map, from output to input coordinates: shear, scale, rotate, shift
        torch.stack([cos * width, (cos * shear - sin) * height, uniform(0.12)], dim=1),
        torch.stack([sin * width, (sin * shear + cos) * height, uniform(0.12)], dim=1),
    ]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)  # (N, H, W, 2)
    return F.grid_sample(images, grid, align_corners=False)


def noisy(images: Tensor, deviation: float) -> Tensor:
    """Adds normal noise of this standard deviation to each pixel, without clipping, as in the student report."""
    return images + deviation * torch.randn_like(images) if deviation else images
