"""Random changes of images (N, 1, H, W) in [0, 1], drawn for each image anew."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor


@contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """Random numbers from a seed of their own; the others go on as if none had been drawn."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def random_affine(images: Tensor, strength: float) -> Tensor:
    """Each image turned, scaled, sheared and shifted at random, zero outside.

    At strength 1: up to 12 degrees, 12 % in each direction, a shear of 0.2 and a shift of 6 % of the side.
    """
    if strength == 0:
        return images

    def uniform(limit: float) -> Tensor:
        return (torch.rand(len(images), device=images.device) * 2 - 1) * limit * strength

    angle, shear = uniform(math.radians(12)), uniform(0.2)
    width, height = 1 + uniform(0.12), 1 + uniform(0.12)
    cos, sin = angle.cos(), angle.sin()
    rows = [  # shear, then scale, then turn, then shift: the inverse map, from output to input coordinates
        torch.stack([cos * width, (cos * shear - sin) * height, uniform(0.12)], dim=1),
        torch.stack([sin * width, (sin * shear + cos) * height, uniform(0.12)], dim=1),
    ]
    grid = F.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def noisy(images: Tensor, deviation: float) -> Tensor:
    """Each pixel with normal noise of that standard deviation; not clipped, as in the report."""
    return images + deviation * torch.randn_like(images) if deviation else images
