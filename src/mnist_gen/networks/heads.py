"""Heads: latents -> logits of the ten digits."""

from torch import nn

from mnist_gen.data.mnist import NUM_CLASSES


class LinearHead(nn.Sequential):
    """The report's minimal classifier: codes (N, latent_dim) -> logits (N, 10). 650 parameters at 64."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__(nn.Linear(latent_dim, NUM_CLASSES))


class MLPHead(nn.Sequential):
    """A small MLP with dropout: codes (N, latent_dim) -> logits (N, 10)."""

    def __init__(self, latent_dim: int, hidden: int, dropout: float) -> None:
        super().__init__(
            nn.Linear(latent_dim, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, NUM_CLASSES),
        )
