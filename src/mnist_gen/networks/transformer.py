"""Transformers on images: tokens, positions, and BERT's blocks from `torch.nn` parts."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_gen.errors import UserError, check_divisor, check_odd

Grid = tuple[int, int]  # rows and columns of tokens
Positions = Callable[[Grid, int], Tensor]  # a grid of T tokens and `dim` -> encodings (T, dim)
BASE = 10_000  # of sinusoidal encodings


class Windows(nn.Module):
    """Images (N, C, H, W) with rings of zeros -> one token per square window (N, T, C size^2), row by row."""

    def __init__(self, size: int, stride: int, padding: int) -> None:
        super().__init__()
        self.size, self.stride, self.padding = size, stride, padding

    def grid(self, images: Tensor) -> Grid:
        """Rows and columns of tokens."""
        rows, columns = ((side + 2 * self.padding - self.size) // self.stride + 1 for side in images.shape[2:])
        return rows, columns

    def forward(self, images: Tensor) -> Tensor:
        return F.unfold(images, self.size, padding=self.padding, stride=self.stride).transpose(1, 2)


class CentredWindows(Windows):
    """One token per pixel, from the window around it, as in the student report. Size 1: the pixel alone."""

    def __init__(self, size: int) -> None:
        check_odd("model.network.tokens.size", size, "for a window with a pixel at its centre")
        super().__init__(size, stride=1, padding=size // 2)


class Patches(Windows):
    """One token per patch of a tiled image (Dosovitskiy et al. 2021)."""

    def __init__(self, size: int) -> None:
        super().__init__(size, stride=size, padding=0)

    def grid(self, images: Tensor) -> Grid:
        for side in images.shape[2:]:
            check_divisor("model.network.tokens.size", self.size, side, f"{side}, a side of the images")
        return super().grid(images)


def sinusoidal(positions: Tensor, dim: int) -> Tensor:
    """Encodes positions (T,) as (T, dim), `dim` even (Vaswani et al. 2017, as in the student report).

    PE(pos, 2i) = sin(pos / 10000^(2i / dim)), and PE(pos, 2i + 1) is its cosine.
    """
    if dim % 2:
        raise UserError(f"model.network.dim={dim}: must be even, for pairs of sine and cosine.")
    exponents = torch.arange(0, dim, 2).to(positions) / dim
    angles = positions.unsqueeze(1) / BASE**exponents  # (T, dim / 2)
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


class NoPositions:
    """Zeros (T, dim)."""

    def __call__(self, grid: Grid, dim: int) -> Tensor:
        return torch.zeros(grid[0] * grid[1], dim)


class RasterPositions:
    """The student report's positions (T, dim): tokens are numbered row by row, so numbers depend on the width."""

    def __call__(self, grid: Grid, dim: int) -> Tensor:
        return sinusoidal(torch.arange(grid[0] * grid[1], dtype=torch.float32), dim)


class GridPositions:
    """Positions (T, dim) in two directions: half of `dim` encodes the row, half the column."""

    def __call__(self, grid: Grid, dim: int) -> Tensor:
        if dim % 4:
            raise UserError(f"model.network.dim={dim}: must be a multiple of 4, for waves along rows and columns.")
        rows, columns = torch.cartesian_prod(*(torch.arange(side, dtype=torch.float32) for side in grid)).T
        return torch.cat([sinusoidal(rows, dim // 2), sinusoidal(columns, dim // 2)], dim=1)


class Block(nn.Module):
    """Self-attention and a feed-forward part, each with a residual connection: tokens (N, T, dim) -> (N, T, dim).

    `hidden` is the width of the feed-forward part. `norm` puts a layer normalisation before each part.
    """

    def __init__(self, dim: int, heads: int, hidden: int, norm: bool = True) -> None:
        super().__init__()
        check_divisor("model.network.heads", heads, dim, f"model.network.dim={dim}")
        self.norm_attention: nn.Module = nn.LayerNorm(dim) if norm else nn.Identity()
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.norm_feed_forward: nn.Module = nn.LayerNorm(dim) if norm else nn.Identity()
        self.feed_forward = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim))

    def forward(self, tokens: Tensor, scores: Tensor | None = None) -> Tensor:
        """Transforms tokens; `scores` (heads, T, T) are added to the attention scores."""
        normed = self.norm_attention(tokens)
        mask = None if scores is None else scores.repeat(len(tokens), 1, 1)  # (N heads, T, T)
        tokens = tokens + self.attention(normed, normed, normed, attn_mask=mask, need_weights=False)[0]
        return tokens + self.feed_forward(self.norm_feed_forward(tokens))


class Embedding(nn.Module):
    """Images (N, channels, H, W) -> tokens (N, T, dim): projected windows plus positions."""

    def __init__(self, tokens: Windows, positions: Positions, channels: int, dim: int) -> None:
        super().__init__()
        self.tokens, self.positions, self.channels = tokens, positions, channels
        self.project = nn.Linear(channels * tokens.size**2, dim)

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1] != self.channels:
            raise UserError(f"model.network.channels={self.channels}: the images have {images.shape[1]}.")
        positions = self.positions(self.tokens.grid(images), self.project.out_features)
        return self.project(self.tokens(images)) + positions.to(images)


class ImageTransformer(nn.Module):
    """A BERT-like encoder (Devlin et al. 2019): images (N, channels, H, W) -> tokens (N, T, dim), for any H and W.

    It has `depth` blocks with the options `block`. `norm` also normalises the last tokens.
    """

    def __init__(
        self,
        tokens: Windows,
        positions: Positions,
        channels: int,
        dim: int,
        depth: int,
        norm: bool = True,
        **block: int,
    ) -> None:
        super().__init__()
        self.embedding = Embedding(tokens, positions, channels, dim)
        self.blocks = nn.ModuleList(Block(dim, norm=norm, **block) for _ in range(depth))
        self.norm: nn.Module = nn.LayerNorm(dim) if norm else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.embedding(images)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)


class ReadTransformer(nn.Module):
    """An `ImageTransformer` and a linear read-out of each token (N, T, out), or of their mean (N, out) if `pooled`."""

    def __init__(self, out: int, pooled: bool, **transformer: Any) -> None:
        super().__init__()
        self.transformer = ImageTransformer(**transformer)
        self.read, self.pooled = nn.Linear(transformer["dim"], out), pooled

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.transformer(images)
        return self.read(tokens.mean(dim=1) if self.pooled else tokens)
