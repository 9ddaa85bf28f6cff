"""How a label enters a network: as a vector, or as a plane beside an image."""

import torch
from torch import nn

from mnist_gen.data.mnist import IMAGE_SIZE
from mnist_gen.errors import UserError, check_choice

LABELS = ("onehot", "embedding")


def label_code(label: str | None, embedding_dim: int, count: int) -> nn.Embedding | None:
    """Labels (N,) -> vectors (N, code.embedding_dim), or None without labels.

    Args:
        label: `embedding`, learned vectors; `onehot`, fixed ones as long as there are labels; None.
        embedding_dim: length of a learned vector.
        count: of different labels.

    Raises:
        UserError: there is no such choice, or no vector of that length.
    """
    if label is None:
        return None
    check_choice("label", label, LABELS)
    if embedding_dim < 1:
        raise UserError(f"embedding_dim={embedding_dim}: must be at least 1.")
    return nn.Embedding.from_pretrained(torch.eye(count)) if label == "onehot" else nn.Embedding(count, embedding_dim)


class LabelPlane(nn.Sequential):
    """Label codes (N, embedding_dim) -> one image-sized channel (N, 1, 32, 32)."""

    def __init__(self, embedding_dim: int) -> None:
        super().__init__(nn.Linear(embedding_dim, IMAGE_SIZE**2), nn.Unflatten(1, (1, IMAGE_SIZE, IMAGE_SIZE)))
