"""How a label enters a network: as a vector, or as a plane beside an image."""

import torch
from torch import nn

from mnist_gen.data import IMAGE_SIZE


def label_vectors(label: str | None, embedding_dim: int, count: int) -> nn.Embedding | None:
    """The layer from labels (N,) below `count` to fixed `onehot` vectors (N, count), or to a learned `embedding`."""
    if label is None:
        return None
    return nn.Embedding.from_pretrained(torch.eye(count)) if label == "onehot" else nn.Embedding(count, embedding_dim)


class LabelPlane(nn.Sequential):
    """Label vectors (N, embedding_dim) -> an image-sized channel (N, 1, 32, 32)."""

    def __init__(self, embedding_dim: int) -> None:
        super().__init__(nn.Linear(embedding_dim, IMAGE_SIZE**2), nn.Unflatten(1, (1, IMAGE_SIZE, IMAGE_SIZE)))
