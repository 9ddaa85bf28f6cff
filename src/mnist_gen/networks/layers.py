"""Layers shared by several networks, and how a label enters one: as a vector, or as a plane beside an image."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_gen.data import IMAGE_SIZE

Norm = Callable[[int], nn.Module]  # builds a normalisation from its number of channels


def convolution(
    channels: int, out_channels: int, kernel: int, stride: int = 1, norm: Norm = nn.BatchNorm2d, bias: bool = False
) -> list[nn.Module]:
    """Convolution, normalisation and ReLU."""
    return [
        nn.Conv2d(channels, out_channels, kernel, stride, padding=1, bias=bias),
        norm(out_channels),
        nn.ReLU(inplace=True),
    ]


def upsampling(channels: int, out_channels: int, norm: Norm = nn.BatchNorm2d) -> list[nn.Module]:
    """Convolution, normalisation and ReLU: (N, channels, H, W) -> (N, out_channels, 2 H, 2 W).

    The convolution runs at the lower resolution, and `PixelShuffle` doubles it (Shi et al. 2016).
    """
    return [
        nn.Conv2d(channels, out_channels * 4, 3, padding=1),
        nn.PixelShuffle(2),
        norm(out_channels),
        nn.ReLU(inplace=True),
    ]


class Residual(nn.Module):
    """Two convolutions with a skip connection, (N, channels, H, W) -> (N, channels, H, W) (He et al. 2016)."""

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        layers = [*convolution(channels, channels, 3, norm=norm), *convolution(channels, channels, 3, norm=norm)]
        self.body = nn.Sequential(*layers[:-1])  # the last ReLU follows the sum

    def forward(self, features: Tensor) -> Tensor:
        return F.relu(features + self.body(features))


def label_vectors(label: str | None, embedding_dim: int, count: int) -> nn.Embedding | None:
    """The layer from labels (N,) below `count` to fixed `onehot` vectors (N, count), or to a learned `embedding`."""
    if label is None:
        return None
    return nn.Embedding.from_pretrained(torch.eye(count)) if label == "onehot" else nn.Embedding(count, embedding_dim)


class LabelPlane(nn.Sequential):
    """Label vectors (N, embedding_dim) -> an image-sized channel (N, 1, 32, 32), or the same in another `shape`."""

    def __init__(self, embedding_dim: int, shape: tuple[int, int, int] = (1, IMAGE_SIZE, IMAGE_SIZE)) -> None:
        super().__init__(nn.Linear(embedding_dim, math.prod(shape)), nn.Unflatten(1, shape))
