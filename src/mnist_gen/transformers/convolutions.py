"""Convolutions as transformers: a token a window, or a token a pixel and a head an offset."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mnist_gen.errors import UserError
from mnist_gen.networks.transformer import Block, Embedding, Grid, Nowhere, Windows
from mnist_gen.transformers.slots import apply_layer, layers_of, mute, side_by_side, take_in, values_of

Offset = tuple[int, int]  # row and column of the key, from the query


class WindowConvolution(nn.Module):
    """The report's way: a token is a window of the kernel's size, and the feed-forward part applies the kernel.

    Attention is muted: its weights are zero. Padding is zeros in windows that reach over the border, a stride leaves
    windows out.

    Args:
        convolution: what to compute; any channels, square kernel, stride and padding.
    """

    @torch.no_grad()
    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        channels, out = convolution.in_channels, convolution.out_channels
        size, stride, padding = _square(convolution)
        length = channels * size**2
        self.out = slice(length, length + out)
        self.embedding = Embedding(Windows(size, stride, padding), Nowhere(), channels, length + out)
        self.block = Block(length + out, heads=1, hidden=2 * out, norm=False)
        self.to(convolution.weight)
        take_in(self.embedding, slice(0, length))
        mute(self.block.attention)
        apply_layer(self.block, convolution.weight.flatten(1), _bias(convolution), slice(0, length), self.out)

    def forward(self, images: Tensor) -> Tensor:
        """What the convolution gives, (N, out, H', W')."""
        tokens = self.block(self.embedding(images))
        return _as_images(tokens[..., self.out], self.embedding.tokens.grid(*images.shape[2:]))


class AttentionConvolution(nn.Module):
    """Cordonnier et al. (ICLR 2020): a token is a pixel, and a head attends to the pixel at one offset of the kernel.

    A head's scores are `-alpha |key - query - offset|^2`, the quadratic relative encoding of the paper; what a token
    holds has no part in them. The zeros around an image are tokens like the others.

    Args:
        convolution: what to compute; any channels, square kernel, stride and padding.
        alpha: sharpness of attention; the larger, the more exact.
        offsets: those that have a head; None: all of the kernel.
    """

    @torch.no_grad()
    def __init__(self, convolution: nn.Conv2d, alpha: float, offsets: Sequence[Offset] | None = None) -> None:
        super().__init__()
        channels, out = convolution.in_channels, convolution.out_channels
        self.size, self.stride, padding = _square(convolution)
        self.alpha, self.offsets = alpha, offsets_of(self.size) if offsets is None else list(offsets)
        heads = len(self.offsets)
        dim = heads * max(channels, math.ceil((channels + out) / heads))
        self.out = slice(channels, channels + out)
        self.pad = nn.ZeroPad2d(padding)
        self.embedding = Embedding(Windows(1, 1, 0), Nowhere(), channels, dim)
        self.block = Block(dim, heads, hidden=1, norm=False)
        self.to(convolution.weight)
        take_in(self.embedding, slice(0, channels))
        _gather(self.block, convolution, self.offsets, slice(0, channels), self.out)
        mute(self.block.feed_forward)

    def forward(self, images: Tensor) -> Tensor:
        """What the convolution gives, (N, out, H', W')."""
        padded = self.pad(images)
        grid = self.embedding.tokens.grid(*padded.shape[2:])
        scores = relative_scores(grid, self.offsets, self.alpha).to(images)
        results = _as_images(self.block(self.embedding(padded), scores)[..., self.out], grid)
        rows, columns = (side - self.size + 1 for side in grid)  # a result where a window's upper left corner lies
        return results[:, :, : rows : self.stride, : columns : self.stride]


class AttentionStack(nn.Module):
    """A stack of convolutions with a ReLU after each but the last: a block for each, as in `AttentionConvolution`.

    The zeros around an image are tokens with a mark. A convolution fills them, and the next one would read that: so
    the feed-forward part, which applies the ReLU, sets what a marked token holds back to zero.

    Args:
        convolutions: what to compute; odd kernels, stride 1, and the padding that keeps an image's size.
        alpha: sharpness of attention.
    """

    LIMIT = 1e3  # of what a token may hold

    @torch.no_grad()
    def __init__(self, convolutions: Sequence[nn.Conv2d], alpha: float) -> None:
        super().__init__()
        sizes = [_square(convolution)[0] for convolution in convolutions]
        if [_square(convolution) for convolution in convolutions] != [(size, 1, size // 2) for size in sizes]:
            raise UserError("a stack of convolutions: asks for odd kernels, stride 1 and padding that keeps the size.")
        self.alpha, self.ring = alpha, max(sizes) // 2
        self.offsets = [[(row - size // 2, column - size // 2) for row, column in offsets_of(size)] for size in sizes]
        widths = [convolutions[0].in_channels, *(convolution.out_channels for convolution in convolutions)]
        slots = side_by_side(*widths)
        self.out, self.mark = slots[-1], slots[-1].stop
        heads = [len(offsets) for offsets in self.offsets]
        needed = max(self.mark + 1, *(width * count for width, count in zip(widths[:-1], heads, strict=True)))
        dim = math.lcm(*heads) * math.ceil(needed / math.lcm(*heads))
        self.pad = nn.ZeroPad2d(self.ring)
        self.embedding = Embedding(Windows(1, 1, 0), self._marks, widths[0], dim)
        self.blocks = nn.ModuleList(
            Block(dim, count, hidden=3 * width, norm=False) for count, width in zip(heads, widths[1:], strict=True)
        )
        self.to(convolutions[0].weight)
        take_in(self.embedding, slots[0])
        for number, (block, convolution) in enumerate(zip(self.blocks, convolutions, strict=True)):
            assert isinstance(block, Block)
            _gather(block, convolution, offsets_of(sizes[number]), slots[number], slots[number + 1])
            mute(block.feed_forward)
            if number + 1 < len(convolutions):
                self._rectify(block, slots[number + 1])

    def _marks(self, grid: Grid, dim: int) -> Tensor:
        """1 for tokens around the image."""
        encoding = torch.zeros(*grid, dim)
        encoding[..., self.mark] = 1
        encoding[self.ring : grid[0] - self.ring, self.ring : grid[1] - self.ring, self.mark] = 0
        return encoding.flatten(0, 1)

    def _rectify(self, block: Block, slot: slice) -> None:
        """y + relu(y - limit mark) - relu(y) + relu(-y): the ReLU of y without a mark, 0 with one."""
        into, out_of = layers_of(block)
        identity = torch.eye(slot.stop - slot.start)
        into.weight[:, slot] = torch.cat([identity, identity, -identity])
        into.weight[: len(identity), self.mark] = -self.LIMIT
        out_of.weight[slot] = torch.cat([identity, -identity, identity], dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """What the stack gives, (N, out, H, W)."""
        padded = self.pad(images)
        grid = self.embedding.tokens.grid(*padded.shape[2:])
        tokens = self.embedding(padded)
        for block, offsets in zip(self.blocks, self.offsets, strict=True):
            tokens = block(tokens, relative_scores(grid, offsets, self.alpha).to(images))
        inside = [slice(self.ring, side - self.ring) for side in grid]
        return _as_images(tokens[..., self.out], grid)[:, :, inside[0], inside[1]]


def offsets_of(size: int) -> list[Offset]:
    """All offsets of a square kernel from its upper left corner, row by row."""
    return [(row, column) for row in range(size) for column in range(size)]


def relative_scores(grid: Grid, offsets: Sequence[Offset], alpha: float) -> Tensor:
    """Attention scores (heads, T, T), a head an offset: highest where the key lies that far from the query."""
    places = torch.cartesian_prod(*(torch.arange(side) for side in grid))  # (T, 2)
    between = places - places.unsqueeze(1)  # (T, T, 2): from query to key
    return -alpha * (between - torch.tensor(offsets).view(-1, 1, 1, 2)).square().sum(dim=-1)


def _square(convolution: nn.Conv2d) -> tuple[int, int, int]:
    """Kernel size, stride and padding.

    Raises:
        UserError: they differ between rows and columns, or it is no plain convolution.
    """
    settings = (convolution.kernel_size, convolution.stride, convolution.padding)
    plain = convolution.groups == 1 and set(convolution.dilation) == {1} and convolution.padding_mode == "zeros"
    if not plain or any(isinstance(setting, str) or setting[0] != setting[1] for setting in settings):
        raise UserError(f"{convolution}: asks for a square kernel with zero padding, no groups and no dilation.")
    return convolution.kernel_size[0], convolution.stride[0], int(convolution.padding[0])


def _bias(convolution: nn.Conv2d) -> Tensor:
    return torch.zeros(convolution.out_channels) if convolution.bias is None else convolution.bias


def _gather(block: Block, convolution: nn.Conv2d, offsets: Sequence[Offset], seen: slice, written: slice) -> None:
    """Each head takes a slot of the token it attends to, and writes the kernel's matrix at its offset times that.

    Offsets are from the kernel's upper left corner.
    """
    attention = block.attention
    mute(attention)
    for head, (row, column) in enumerate(offsets):
        start = head * attention.head_dim
        of_head = slice(start, start + convolution.in_channels)
        values_of(attention)[of_head, seen] = torch.eye(convolution.in_channels)
        attention.out_proj.weight[written, of_head] = convolution.weight[:, :, row, column]
    attention.out_proj.bias[written] = _bias(convolution)


def _as_images(tokens: Tensor, grid: Grid) -> Tensor:
    """Tokens (N, T, C) as images (N, C, rows, columns)."""
    return tokens.transpose(1, 2).unflatten(2, grid)
