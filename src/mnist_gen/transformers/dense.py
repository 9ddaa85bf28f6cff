"""Dense layers and MLPs as transformers: one token for the whole image, or one per pixel."""

import torch
from torch import Tensor, nn

from mnist_gen.networks.transformer import Block, Embedding, NoPositions, Windows
from mnist_gen.transformers.slots import copy_input, feed_forward_layers, mute, set_layer, side_by_side, value_weights


class TokenMLP(nn.Module):
    """The whole image (N, 1, side, side) is one token; the feed-forward part is a dense layer, or an MLP of two."""

    @torch.no_grad()
    def __init__(self, side: int, first: nn.Linear, last: nn.Linear | None = None) -> None:
        super().__init__()
        out = (last or first).out_features
        hidden = 2 * out if last is None else first.out_features
        image, self.out = side_by_side(side**2, out)
        self.embedding = Embedding(Windows(side, side, 0), NoPositions(), 1, self.out.stop)
        self.block = Block(self.out.stop, heads=1, hidden=hidden, norm=False)
        self.to(first.weight)
        copy_input(self.embedding)
        mute(self.block)
        if last is None:
            set_layer(self.block, first.weight, first.bias, image, self.out)
        else:
            own_first, own_last = feed_forward_layers(self.block)
            own_first.weight[:, image], own_first.bias[:] = first.weight, first.bias
            own_last.weight[self.out], own_last.bias[self.out] = last.weight, last.bias

    def forward(self, images: Tensor) -> Tensor:
        return self.block(self.embedding(images))[:, 0, self.out]


class TaggedDense(nn.Module):
    """A dense layer over pixel tokens: attention only gathers, and the feed-forward part applies the signed matrix.

    Each position has its own dimension; without tags all positions share all dimensions. The first block's feed-forward
    part writes a pixel, in [0, 1], into the dimension of its position. The second block's uniform attention sums all
    tokens, so that each holds the whole image, and its feed-forward part applies the matrix.
    """

    @torch.no_grad()
    def __init__(self, side: int, dense: nn.Linear, tagged: bool = True) -> None:
        super().__init__()
        count, out = side**2, dense.out_features
        value, tag, own, image, self.out = side_by_side(1, count, count, count, out)
        tags = torch.zeros(count, self.out.stop)
        tags[:, tag] = torch.eye(count) if tagged else 1.0
        self.embedding = Embedding(Windows(1, 1, 0), lambda grid, dim: tags, 1, self.out.stop)
        self.tagging = Block(self.out.stop, heads=1, hidden=count, norm=False)
        self.gathering = Block(self.out.stop, heads=1, hidden=2 * out, norm=False)
        self.to(dense.weight)
        copy_input(self.embedding)
        mute(self.tagging)
        first, last = feed_forward_layers(self.tagging)
        first.weight[:, value], first.weight[:, tag], first.bias[:] = 1, torch.eye(count), -1  # relu(x + tag - 1)
        last.weight[own] = torch.eye(count)
        attention = self.gathering.attention
        mute(attention)
        value_weights(attention)[image, own] = torch.eye(count)
        attention.out_proj.weight[image, image] = count * torch.eye(count)  # a sum, not a mean
        set_layer(self.gathering, dense.weight, dense.bias, image, self.out)

    def forward(self, images: Tensor) -> Tensor:
        return self.gathering(self.tagging(self.embedding(images)))[:, 0, self.out]  # every token holds the result
