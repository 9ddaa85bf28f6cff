"""Transformers on images: tokens, positions, and BERT's blocks from `torch.nn` parts."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_gen.errors import UserError, check_at_least

Grid = tuple[int, int]  # rows and columns of tokens
Positions = Callable[[Grid, int], Tensor]  # a grid of T tokens and `dim` -> encodings (T, dim)
BASE = 10_000  # of sinusoidal encodings


class Windows(nn.Module):
    """Images (N, C, H, W) -> one token per square window (N, T, C size^2), row by row.

    Args:
        size: side of a window in pixels.
        stride: pixels from one window to the next.
        padding: rings of zeros around the image.

    Raises:
        UserError: `size` or `stride` is below 1, or `padding` below 0.
    """

    def __init__(self, size: int, stride: int, padding: int) -> None:
        super().__init__()
        check_at_least(1, "model.network.tokens", size=size, stride=stride)
        check_at_least(0, "model.network.tokens", padding=padding)
        self.size, self.stride, self.padding = size, stride, padding

    def grid(self, height: int, width: int) -> Grid:
        """Counts the rows and columns of tokens of an image.

        Raises:
            UserError: the windows do not fit.
        """
        room = [side + 2 * self.padding - self.size for side in (height, width)]
        if min(room) < 0:
            raise UserError(f"model.network.tokens.size={self.size}: too large for images of {height}x{width} pixels.")
        return room[0] // self.stride + 1, room[1] // self.stride + 1

    def forward(self, images: Tensor) -> Tensor:
        return F.unfold(images, self.size, padding=self.padding, stride=self.stride).transpose(1, 2)


class CentredWindows(Windows):
    """One token per pixel, from the window around it, as in the student report. Size 1: the pixel alone."""

    def __init__(self, size: int) -> None:
        if size % 2 == 0:
            raise UserError(f"model.network.tokens.size={size}: must be odd, for a window with a pixel at its centre.")
        super().__init__(size, stride=1, padding=size // 2)


class Patches(Windows):
    """One token per patch of a tiled image (Dosovitskiy et al. 2021)."""

    def __init__(self, size: int) -> None:
        super().__init__(size, stride=size, padding=0)

    def grid(self, height: int, width: int) -> Grid:
        """As `Windows.grid`; patches must tile the image."""
        if height % self.size or width % self.size:
            raise UserError(
                f"model.network.tokens.size={self.size}: must divide the side of images of {height}x{width} pixels."
            )
        return super().grid(height, width)


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
            raise UserError(
                f"model.network.dim={dim}: must be a multiple of 4, for sines and cosines of row and column."
            )
        rows, columns = torch.meshgrid(*(torch.arange(side, dtype=torch.float32) for side in grid), indexing="ij")
        return torch.cat([sinusoidal(rows.flatten(), dim // 2), sinusoidal(columns.flatten(), dim // 2)], dim=1)


class Block(nn.Module):
    """Self-attention and a feed-forward part, each with a residual connection: tokens (N, T, dim) -> (N, T, dim).

    Args:
        dim: length of a token.
        heads: attention heads, a divisor of `dim`.
        hidden: width of the feed-forward part.
        norm: whether layer normalisation precedes each part.

    Raises:
        UserError: `heads` is below 1 or does not divide `dim`.
    """

    def __init__(self, dim: int, heads: int, hidden: int, norm: bool = True) -> None:
        super().__init__()
        check_at_least(1, "model.network", heads=heads)
        if dim % heads:
            raise UserError(f"model.network.heads={heads}: must be a divisor of model.network.dim={dim}.")
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
        positions = self.positions(self.tokens.grid(*images.shape[2:]), self.project.out_features)
        return self.project(self.tokens(images)) + positions.to(images)


class ImageTransformer(nn.Module):
    """A BERT-like encoder (Devlin et al. 2019): images (N, channels, H, W) -> tokens (N, T, dim), for any H and W.

    Args:
        tokens: cuts an image into tokens.
        positions: encodings added to the tokens.
        channels: of the images.
        dim: length of a token.
        depth: number of blocks.
        heads: attention heads of each block.
        hidden: width of each feed-forward part.
        norm: whether layer normalisation precedes each part and ends the encoder.

    Raises:
        UserError: a size is below 1, or `heads` does not divide `dim`.
    """

    def __init__(
        self,
        tokens: Windows,
        positions: Positions,
        channels: int,
        dim: int,
        depth: int,
        heads: int,
        hidden: int,
        norm: bool = True,
    ) -> None:
        super().__init__()
        check_at_least(1, "model.network", dim=dim, depth=depth, hidden=hidden)
        self.embedding = Embedding(tokens, positions, channels, dim)
        self.blocks = nn.ModuleList(Block(dim, heads, hidden, norm) for _ in range(depth))
        self.norm: nn.Module = nn.LayerNorm(dim) if norm else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.embedding(images)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)


class ReadTransformer(nn.Module):
    """A transformer and a linear read-out of each token (N, T, out), or of their mean (N, out).

    Args:
        out: values read out.
        pooled: whether to read out the mean of all tokens.
        transformer: the options of `ImageTransformer`.
    """

    def __init__(self, out: int, pooled: bool, **transformer: Any) -> None:
        super().__init__()
        self.transformer = ImageTransformer(**transformer)
        self.read, self.pooled = nn.Linear(transformer["dim"], out), pooled

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.transformer(images)
        return self.read(tokens.mean(dim=1) if self.pooled else tokens)
