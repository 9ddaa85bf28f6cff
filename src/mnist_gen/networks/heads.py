"""Heads: latents (N, latent_dim) -> logits (N, 10)."""

from torch import nn

from mnist_gen.data import NUM_CLASSES


class LinearHead(nn.Sequential):
    """The student report's minimal classifier. 650 parameters at latent_dim=64."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__(nn.Linear(latent_dim, NUM_CLASSES))


class MLPHead(nn.Sequential):
    """A small MLP with dropout."""

    def __init__(self, latent_dim: int, hidden: int, dropout: float) -> None:
        super().__init__(nn.Linear(latent_dim, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, NUM_CLASSES))
