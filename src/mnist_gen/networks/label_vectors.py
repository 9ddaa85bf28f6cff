"""How a label enters a network: as a vector, or as a plane beside an image."""

import torch
from torch import nn

from mnist_gen.data import IMAGE_SIZE
from mnist_gen.errors import check_at_least, check_choice


def label_vectors(label: str | None, embedding_dim: int, count: int) -> nn.Embedding | None:
    """Builds the layer from labels (N,) to label vectors (N, embedding_dim), or None without labels.

    Args:
        label: `embedding`, learned vectors; `onehot`, fixed vectors of length `count`; None, no labels.
        embedding_dim: length of a learned vector.
        count: number of different labels.

    Raises:
        UserError: unknown choice, or `embedding_dim` is below 1.
    """
    if label is None:
        return None
    check_choice("label", label, ("onehot", "embedding"))
    check_at_least(1, embedding_dim=embedding_dim)
    return nn.Embedding.from_pretrained(torch.eye(count)) if label == "onehot" else nn.Embedding(count, embedding_dim)


class LabelPlane(nn.Sequential):
    """Label vectors (N, embedding_dim) -> an image-sized channel (N, 1, 32, 32)."""

    def __init__(self, embedding_dim: int) -> None:
        super().__init__(nn.Linear(embedding_dim, IMAGE_SIZE**2), nn.Unflatten(1, (1, IMAGE_SIZE, IMAGE_SIZE)))
