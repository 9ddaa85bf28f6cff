"""Dense layers and MLPs as transformers: the whole image a token, or a token a pixel."""

import torch
from torch import Tensor, nn

from mnist_gen.networks.transformer import Block, Embedding, Nowhere, Windows
from mnist_gen.transformers.slots import apply_layer, layers_of, mute, side_by_side, take_in, values_of


class TokenMLP(nn.Module):
    """The whole image is one token, and the feed-forward part is a dense layer, or an MLP with one hidden layer.

    Args:
        first: dense layer from flat images.
        last: dense layer after a ReLU; None: there is no other.
        channels: of images.
        side: of images.
    """

    @torch.no_grad()
    def __init__(self, first: nn.Linear, last: nn.Linear | None, channels: int, side: int) -> None:
        super().__init__()
        length, out = channels * side**2, (last or first).out_features
        hidden = 2 * out if last is None else first.out_features
        seen, self.out = side_by_side(length, out)
        self.embedding = Embedding(Windows(side, side, 0), Nowhere(), channels, length + out)
        self.block = Block(length + out, heads=1, hidden=hidden, norm=False)
        self.to(first.weight)
        take_in(self.embedding, seen)
        mute(self.block.attention)
        if last is None:
            apply_layer(self.block, first.weight, first.bias, seen, self.out)
        else:
            mute(self.block.feed_forward)
            into, out_of = layers_of(self.block)
            into.weight[:, seen], into.bias[:] = first.weight, first.bias
            out_of.weight[self.out], out_of.bias[self.out] = last.weight, last.bias

    def forward(self, images: Tensor) -> Tensor:
        """What the layers give, (N, out)."""
        return self.block(self.embedding(images))[:, 0, self.out]


class TaggedDense(nn.Module):
    """A dense layer over pixel tokens: attention only gathers, and the feed-forward part applies the signed matrix.

    Each position has a dimension of its own. The first block's feed-forward part writes a pixel into the dimension of
    its position; the second's attention, the same for all, adds all tokens up, so that each holds the whole image, and
    its feed-forward part applies the matrix.

    Args:
        dense: what to compute, from flat images of one channel in [0, 1].
        side: of images.
        tagged: whether positions have their own dimensions; if not, all share all of them.
    """

    @torch.no_grad()
    def __init__(self, dense: nn.Linear, side: int, tagged: bool = True) -> None:
        super().__init__()
        count, out = side**2, dense.out_features
        value, tag, own, gathered, self.out = side_by_side(1, count, count, count, out)
        tags = torch.zeros(count, self.out.stop)
        tags[:, tag] = torch.eye(count) if tagged else 1.0
        self.embedding = Embedding(Windows(1, 1, 0), lambda grid, dim: tags, 1, self.out.stop)
        self.tagging = Block(self.out.stop, heads=1, hidden=count, norm=False)
        self.gathering = Block(self.out.stop, heads=1, hidden=2 * out, norm=False)
        self.to(dense.weight)
        take_in(self.embedding, value)
        mute(self.tagging.attention)
        mute(self.tagging.feed_forward)
        into, out_of = layers_of(self.tagging)
        into.weight[:, value], into.weight[:, tag], into.bias[:] = 1, torch.eye(count), -1  # relu(x + tag - 1)
        out_of.weight[own] = torch.eye(count)
        attention = self.gathering.attention
        mute(attention)
        values_of(attention)[gathered, own] = torch.eye(count)
        attention.out_proj.weight[gathered, gathered] = count * torch.eye(count)  # a sum, not a mean
        apply_layer(self.gathering, dense.weight, dense.bias, gathered, self.out)

    def forward(self, images: Tensor) -> Tensor:
        """What the layer gives, (N, out); every token holds it."""
        return self.gathering(self.tagging(self.embedding(images)))[:, 0, self.out]
