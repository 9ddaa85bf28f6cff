"""Setting a transformer's weights by hand: a token is a row of slots.

The input stays in its slot, and each part writes its result into an empty slot. Nothing is subtracted again, so nothing
is lost to rounding.
"""

import itertools

import torch
from torch import Tensor, nn

from mnist_gen.networks.transformer import Block, Embedding


def side_by_side(*widths: int) -> list[slice]:
    """Adjacent slots of the given widths."""
    ends = [0, *itertools.accumulate(widths)]
    return [slice(start, end) for start, end in itertools.pairwise(ends)]


def mute(part: nn.Module) -> None:
    """Sets all weights to 0: the part adds nothing, and attention is uniform."""
    for weights in part.parameters():
        weights.zero_()


def reset(attention: nn.MultiheadAttention) -> None:
    """Restores torch's own initial weights."""
    attention._reset_parameters()
    attention.out_proj.reset_parameters()


def copy_input(embedding: Embedding) -> None:
    """Makes the embedding copy its input into the first slot."""
    mute(embedding.project)
    nn.init.eye_(embedding.project.weight)


def value_weights(attention: nn.MultiheadAttention) -> Tensor:
    """The matrix (dim, dim) from tokens to the values of all heads."""
    return attention.in_proj_weight[-attention.embed_dim :]


def feed_forward_layers(block: Block) -> tuple[nn.Linear, nn.Linear]:
    """The two dense layers of a block."""
    first, last = block.feed_forward[0], block.feed_forward[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    return first, last


def set_layer(block: Block, matrix: Tensor, bias: Tensor, source: slice, target: slice) -> None:
    """Makes the feed-forward part write y = matrix source + bias, as relu(y) - relu(-y)."""
    mute(block.feed_forward)
    first, last = feed_forward_layers(block)
    identity = torch.eye(len(matrix))
    first.weight[:, source], first.bias[:] = torch.cat([matrix, -matrix]), torch.cat([bias, -bias])
    last.weight[target] = torch.cat([identity, -identity], dim=1)
