"""Transformers on images: how one becomes tokens, what says where they are, and BERT's blocks on `torch.nn` parts."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_gen.errors import UserError

Grid = tuple[int, int]  # rows and columns of tokens
Positions = Callable[[Grid, int], Tensor]  # encodings (T, dim) of a grid of tokens, given dim
BASE = 10_000  # of sinusoidal encodings


class Windows(nn.Module):
    """Images (N, C, H, W) -> a token for each square window (N, T, C size size), row by row; zero outside the image.

    Args:
        size: side of a window.
        stride: pixels from one window to the next.
        padding: rings of zeros around the image.
    """

    def __init__(self, size: int, stride: int, padding: int) -> None:
        super().__init__()
        if min(size, stride) < 1 or padding < 0:
            raise UserError(f"tokens: windows of side {size}, stride {stride} and padding {padding} are impossible.")
        self.size, self.stride, self.padding = size, stride, padding

    def grid(self, height: int, width: int) -> Grid:
        """Rows and columns of tokens of images of that size.

        Raises:
            UserError: windows do not fit.
        """
        room = [side + 2 * self.padding - self.size for side in (height, width)]
        if min(room) < 0:
            raise UserError(f"tokens: no window of side {self.size} fits into {height}x{width} pixels.")
        return room[0] // self.stride + 1, room[1] // self.stride + 1

    def forward(self, images: Tensor) -> Tensor:
        return F.unfold(images, self.size, padding=self.padding, stride=self.stride).transpose(1, 2)


class CentredWindows(Windows):
    """A token for each pixel, of the window around it: the report's way. Size 1: the pixel alone."""

    def __init__(self, size: int) -> None:
        if size % 2 == 0:
            raise UserError(f"size={size}: a window with a pixel in its centre has an odd side; choose another size.")
        super().__init__(size, stride=1, padding=size // 2)


class Patches(Windows):
    """A token for each of the patches that an image is cut into (Dosovitskiy et al. 2021)."""

    def __init__(self, size: int) -> None:
        super().__init__(size, stride=size, padding=0)

    def grid(self, height: int, width: int) -> Grid:
        """As `Windows.grid`; nothing may be left over."""
        if height % self.size or width % self.size:
            raise UserError(f"size={self.size}: patches of that side do not divide images of {height}x{width} pixels.")
        return super().grid(height, width)


def sinusoidal(positions: Tensor, dim: int) -> Tensor:
    """Vaswani et al. (2017), as in the report: PE(pos, 2i) = sin(pos / 10000^(2i / dim)), PE(pos, 2i + 1) its cosine.

    Args:
        positions: (T,).
        dim: of an encoding, even.

    Returns:
        (T, dim).
    """
    if dim % 2:
        raise UserError(f"dim={dim}: sines and cosines come in pairs; choose an even one.")
    exponents = torch.arange(0, dim, 2).to(positions) / dim
    angles = positions.unsqueeze(1) / BASE**exponents  # (T, dim / 2)
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


class Nowhere:
    """No positions: zeros (T, dim) for a grid of tokens."""

    def __call__(self, grid: Grid, dim: int) -> Tensor:
        return torch.zeros(grid[0] * grid[1], dim)


class Raster:
    """The report's positions (T, dim) of a grid: tokens numbered row by row, anew for each width."""

    def __call__(self, grid: Grid, dim: int) -> Tensor:
        return sinusoidal(torch.arange(grid[0] * grid[1], dtype=torch.float32), dim)


class Plane:
    """Positions (T, dim) in two directions: half of an encoding tells the row, half the column.

    Raises:
        UserError: `dim` cannot be shared out so.
    """

    def __call__(self, grid: Grid, dim: int) -> Tensor:
        if dim % 4:
            raise UserError(f"dim={dim}: rows and columns take pairs of sines and cosines; choose a multiple of 4.")
        rows, columns = torch.meshgrid(*(torch.arange(side, dtype=torch.float32) for side in grid), indexing="ij")
        return torch.cat([sinusoidal(rows.flatten(), dim // 2), sinusoidal(columns.flatten(), dim // 2)], dim=1)


class Block(nn.Module):
    """Self-attention among tokens (N, T, dim), then the same small network on each; both are added to what comes in.

    Args:
        dim: of a token.
        heads: of attention.
        hidden: width of the small network, the feed-forward part.
        norm: whether layer normalisation comes before each.
    """

    def __init__(self, dim: int, heads: int, hidden: int, norm: bool = True) -> None:
        super().__init__()
        if heads < 1:
            raise UserError(f"heads={heads}: must be at least 1.")
        if dim % heads:
            raise UserError(f"heads={heads}: does not divide dim={dim}.")
        self.norm_attention: nn.Module = nn.LayerNorm(dim) if norm else nn.Identity()
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.norm_feed_forward: nn.Module = nn.LayerNorm(dim) if norm else nn.Identity()
        self.feed_forward = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim))

    def forward(self, tokens: Tensor, scores: Tensor | None = None) -> Tensor:
        """Tokens from tokens; `scores` (heads, T, T) are added to those of attention."""
        seen = self.norm_attention(tokens)
        mask = None if scores is None else scores.repeat(len(tokens), 1, 1)
        tokens = tokens + self.attention(seen, seen, seen, attn_mask=mask, need_weights=False)[0]
        return tokens + self.feed_forward(self.norm_feed_forward(tokens))


class Embedding(nn.Module):
    """Images (N, channels, H, W) -> tokens (N, T, dim) that say what they hold and where they are.

    Args:
        tokens: how an image becomes tokens.
        positions: added to them.
        channels: of images.
        dim: of a token.
    """

    def __init__(self, tokens: Windows, positions: Positions, channels: int, dim: int) -> None:
        super().__init__()
        self.tokens, self.positions, self.channels = tokens, positions, channels
        self.project = nn.Linear(channels * tokens.size**2, dim)

    def forward(self, images: Tensor) -> Tensor:
        if images.shape[1] != self.channels:
            raise UserError(f"channels={self.channels}: the images have {images.shape[1]}.")
        positions = self.positions(self.tokens.grid(*images.shape[2:]), self.project.out_features)
        return self.project(self.tokens(images)) + positions.to(images)


class ImageTransformer(nn.Module):
    """A BERT-like encoder (Devlin et al. 2019): images (N, channels, H, W) -> tokens (N, T, dim), for any H and W.

    Args:
        tokens: how an image becomes tokens.
        positions: added to them.
        channels: of images.
        dim: of a token.
        depth: blocks.
        heads: of attention in each.
        hidden: width of the feed-forward part of each.
        norm: whether there is layer normalisation, before each part and at the end.

    Raises:
        UserError: a number is impossible.
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
        for key, value in (("dim", dim), ("depth", depth), ("hidden", hidden)):
            if value < 1:
                raise UserError(f"{key}={value}: must be at least 1.")
        self.embedding = Embedding(tokens, positions, channels, dim)
        self.blocks = nn.ModuleList(Block(dim, heads, hidden, norm) for _ in range(depth))
        self.norm: nn.Module = nn.LayerNorm(dim) if norm else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.embedding(images)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)


class ReadTransformer(nn.Module):
    """A transformer and a dense layer, on each token (N, T, out) or on the mean of all (N, out).

    Args:
        out: values read.
        pooled: whether from the mean of all tokens.
        transformer: the options of `ImageTransformer`.
    """

    def __init__(self, out: int, pooled: bool, **transformer: Any) -> None:
        super().__init__()
        self.transformer = ImageTransformer(**transformer)
        self.read, self.pooled = nn.Linear(transformer["dim"], out), pooled

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.transformer(images)
        return self.read(tokens.mean(dim=1) if self.pooled else tokens)
