"""Convolutions as transformers: one token per window, or one token per pixel and one head per offset."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mnist_gen.errors import UserError
from mnist_gen.networks.transformer import Block, Embedding, Grid, NoPositions, Windows
from mnist_gen.transformers.slots import copy_input, feed_forward_layers, mute, set_layer, side_by_side, value_weights

Offset = tuple[int, int]  # rows and columns from the query to the key
LARGEST_VALUE = 1e3  # in a token of an AttentionStack


class WindowConvolution(nn.Module):
    """The student report's construction: a token is a window, and the feed-forward part applies the kernel.

    Attention is muted. Windows over the border are padded with zeros; a stride skips windows.
    """

    @torch.no_grad()
    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        size, stride, padding = _geometry(convolution)
        window, self.out = side_by_side(convolution.in_channels * size**2, convolution.out_channels)
        tokens = Windows(size, stride, padding)
        self.embedding = Embedding(tokens, NoPositions(), convolution.in_channels, self.out.stop)
        self.block = Block(self.out.stop, heads=1, hidden=2 * convolution.out_channels, norm=False)
        self.to(convolution.weight)
        copy_input(self.embedding)
        mute(self.block.attention)
        set_layer(self.block, convolution.weight.flatten(1), _bias(convolution), window, self.out)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.block(self.embedding(images))
        return _as_images(tokens[..., self.out], self.embedding.tokens.grid(images))


class AttentionConvolution(nn.Module):
    """A token is a pixel, and each head attends to the pixel at one offset of the kernel (Cordonnier et al. 2020).

    A head's scores are `-alpha |key - query - offset|^2`, the paper's quadratic relative encoding; they ignore what
    tokens hold. A larger alpha is more exact. The zeros around an image are tokens like the others.
    """

    @torch.no_grad()
    def __init__(self, convolution: nn.Conv2d, alpha: float, offsets: Sequence[Offset] | None = None) -> None:
        """Gives a head to each of the offsets; None: to all of the kernel."""
        super().__init__()
        channels, out = convolution.in_channels, convolution.out_channels
        self.size, self.stride, padding = _geometry(convolution)
        self.alpha, self.offsets = alpha, offsets_of(self.size) if offsets is None else offsets
        heads = len(self.offsets)
        dim = heads * max(channels, math.ceil((channels + out) / heads))
        pixel, self.out = side_by_side(channels, out)
        self.embedding = Embedding(Windows(1, 1, padding), NoPositions(), channels, dim)
        self.block = Block(dim, heads, hidden=1, norm=False)
        self.to(convolution.weight)
        copy_input(self.embedding)
        _set_heads(self.block, convolution, self.offsets, pixel, self.out)
        mute(self.block.feed_forward)

    def forward(self, images: Tensor) -> Tensor:
        grid = self.embedding.tokens.grid(images)
        tokens = self.block(self.embedding(images), relative_scores(grid, self.offsets, self.alpha).to(images))
        rows, columns = (side - self.size + 1 for side in grid)  # results lie at the upper left corners of windows
        return _as_images(tokens[..., self.out], grid)[:, :, : rows : self.stride, : columns : self.stride]


class AttentionStack(nn.Module):
    """Convolutions with ReLUs in between, one block each, as in `AttentionConvolution`.

    The kernels are odd, the stride is 1, and padding keeps an image's size. The zeros around an image are marked
    tokens. A convolution writes into them, which the next one would read. The feed-forward part, which applies the
    ReLU, therefore resets marked tokens to zero.
    """

    @torch.no_grad()
    def __init__(self, *convolutions: nn.Conv2d, alpha: float) -> None:
        super().__init__()
        geometries = [_geometry(convolution) for convolution in convolutions]
        sizes = [size for size, _, _ in geometries]
        if geometries != [(size, 1, size // 2) for size in sizes]:
            raise UserError("A stack of convolutions needs odd kernels, stride 1 and the padding that keeps the size.")
        self.alpha, self.ring = alpha, max(sizes) // 2
        self.offsets = [[(row - size // 2, column - size // 2) for row, column in offsets_of(size)] for size in sizes]
        widths = [convolutions[0].in_channels, *(convolution.out_channels for convolution in convolutions)]
        slots = side_by_side(*widths)
        self.out, self.mark = slots[-1], slots[-1].stop
        heads = [size**2 for size in sizes]
        needed = max(self.mark + 1, *(width * count for width, count in zip(widths[:-1], heads, strict=True)))
        dim = math.lcm(*heads) * math.ceil(needed / math.lcm(*heads))
        self.embedding = Embedding(Windows(1, 1, self.ring), self._marks, widths[0], dim)
        blocks = [Block(dim, count, 3 * width, norm=False) for count, width in zip(heads, widths[1:], strict=True)]
        self.blocks = nn.ModuleList(blocks)
        self.to(convolutions[0].weight)
        copy_input(self.embedding)
        for number, (block, convolution) in enumerate(zip(blocks, convolutions, strict=True)):
            _set_heads(block, convolution, offsets_of(sizes[number]), slots[number], slots[number + 1])
            mute(block.feed_forward)
            if number + 1 < len(convolutions):
                self._rectify(block, slots[number + 1])

    def _marks(self, grid: Grid, dim: int) -> Tensor:
        """Positions (T, dim) that mark the tokens around the image with 1."""
        encoding = torch.zeros(*grid, dim)
        encoding[..., self.mark] = 1
        encoding[self.ring : grid[0] - self.ring, self.ring : grid[1] - self.ring, self.mark] = 0
        return encoding.flatten(0, 1)

    def _rectify(self, block: Block, slot: slice) -> None:
        """Computes y + relu(y - limit mark) - relu(y) + relu(-y): the ReLU of an unmarked y, and 0 if marked."""
        first, last = feed_forward_layers(block)
        identity = torch.eye(slot.stop - slot.start)
        first.weight[:, slot] = torch.cat([identity, identity, -identity])
        first.weight[: len(identity), self.mark] = -LARGEST_VALUE
        last.weight[slot] = torch.cat([identity, -identity, identity], dim=1)

    def forward(self, images: Tensor) -> Tensor:
        tokens, grid = self.embedding(images), self.embedding.tokens.grid(images)
        for block, offsets in zip(self.blocks, self.offsets, strict=True):
            tokens = block(tokens, relative_scores(grid, offsets, self.alpha).to(images))
        rows, columns = (slice(self.ring, side - self.ring) for side in grid)
        return _as_images(tokens[..., self.out], grid)[:, :, rows, columns]


def offsets_of(size: int) -> list[Offset]:
    """All offsets of a square kernel from its upper left corner, row by row."""
    return [(row, column) for row in range(size) for column in range(size)]


def relative_scores(grid: Grid, offsets: Sequence[Offset], alpha: float) -> Tensor:
    """Attention scores (heads, T, T), highest where the key lies at the head's offset from the query."""
    places = torch.cartesian_prod(*(torch.arange(side) for side in grid))  # (T, 2)
    differences = places - places.unsqueeze(1)  # (T, T, 2): from query to key
    return -alpha * (differences - torch.tensor(offsets).view(-1, 1, 1, 2)).square().sum(dim=-1)


def _geometry(convolution: nn.Conv2d) -> tuple[int, int, int]:
    """Kernel size, stride and padding, if they are equal in both directions and nothing else is set."""
    settings = (convolution.kernel_size, convolution.stride, convolution.padding)
    plain = convolution.groups == 1 and set(convolution.dilation) == {1} and convolution.padding_mode == "zeros"
    if not plain or any(isinstance(setting, str) or setting[0] != setting[1] for setting in settings):
        raise UserError(f"{convolution}: needs a square kernel with zero padding, no groups and no dilation.")
    return convolution.kernel_size[0], convolution.stride[0], int(convolution.padding[0])


def _bias(convolution: nn.Conv2d) -> Tensor:
    return torch.zeros(convolution.out_channels) if convolution.bias is None else convolution.bias


def _set_heads(block: Block, convolution: nn.Conv2d, offsets: Sequence[Offset], source: slice, target: slice) -> None:
    """Makes each head read the source slot of its token and write the kernel at its offset times that.

    Offsets count from the kernel's upper left corner.
    """
    attention = block.attention
    mute(attention)
    for head, (row, column) in enumerate(offsets):
        start = head * attention.head_dim
        values = slice(start, start + convolution.in_channels)
        value_weights(attention)[values, source] = torch.eye(convolution.in_channels)
        attention.out_proj.weight[target, values] = convolution.weight[:, :, row, column]
    attention.out_proj.bias[target] = _bias(convolution)


def _as_images(tokens: Tensor, grid: Grid) -> Tensor:
    """Tokens (N, T, C) -> images (N, C, rows, columns)."""
    return tokens.transpose(1, 2).unflatten(2, grid)
