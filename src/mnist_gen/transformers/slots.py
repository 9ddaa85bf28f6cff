"""How weights are set: what a token holds is laid out in slots beside each other.

What came in stays, and each part writes its result into a slot that was zero. Nothing has to be taken away again, so
nothing is lost to rounding.
"""

import itertools

import torch
from torch import Tensor, nn

from mnist_gen.networks.transformer import Block, Embedding


def side_by_side(*widths: int) -> list[slice]:
    """Slots beside each other."""
    ends = [0, *itertools.accumulate(widths)]
    return [slice(start, end) for start, end in itertools.pairwise(ends)]


def mute(part: nn.Module) -> None:
    """All weights 0: it adds nothing, and attention is the same everywhere."""
    for weights in part.parameters():
        weights.zero_()


def take_in(embedding: Embedding, slot: slice) -> None:
    """What a token is made of goes into a slot as it is."""
    mute(embedding.project)
    embedding.project.weight[slot] = torch.eye(embedding.project.in_features)


def values_of(attention: nn.MultiheadAttention) -> Tensor:
    """The matrix (dim, dim) from tokens to the values of all heads."""
    return attention.in_proj_weight[-attention.embed_dim :]


def layers_of(block: Block) -> tuple[nn.Linear, nn.Linear]:
    """Those of the feed-forward part."""
    into, out_of = block.feed_forward[0], block.feed_forward[2]
    assert isinstance(into, nn.Linear)
    assert isinstance(out_of, nn.Linear)
    return into, out_of


def apply_layer(block: Block, matrix: Tensor, bias: Tensor, seen: slice, written: slice) -> None:
    """The feed-forward part writes y = matrix seen + bias, as relu(y) - relu(-y)."""
    mute(block.feed_forward)
    into, out_of = layers_of(block)
    identity = torch.eye(len(matrix))
    into.weight[:, seen], into.bias[:] = torch.cat([matrix, -matrix]), torch.cat([bias, -bias])
    out_of.weight[written] = torch.cat([identity, -identity], dim=1)
