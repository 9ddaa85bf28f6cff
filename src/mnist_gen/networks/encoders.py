"""Encoders: images (N, 1, 32, 32) in [0, 1] -> latents (N, latent_dim)."""

import torch
from torch import Tensor, nn

from mnist_gen.data.mnist import chunks
from mnist_gen.networks.layers import convolution

STATISTICS = 10_000  # unlabelled images to which a StandardizedEncoder is fitted


class Encoder(nn.Sequential):
    """The student report's encoder: images -> latents (N, latent_dim). 103,440 parameters at latent_dim=64."""

    def __init__(self, latent_dim: int = 64) -> None:
        super().__init__(
            nn.Conv2d(1, 16, 4, stride=2, padding=1),  # (N, 16, 16, 16)
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),  # (N, 32, 8, 8)
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),  # (N, 64, 4, 4)
            nn.ReLU(),
            nn.Conv2d(64, 96, 3, stride=2, padding=1),  # (N, 96, 2, 2)
            nn.ReLU(),
            nn.Flatten(),  # (N, 384)
            nn.Linear(384, latent_dim),
        )


class WideEncoder(nn.Sequential):
    """The strong encoder, with batch normalisation: images -> latents (N, latent_dim)."""

    def __init__(self, latent_dim: int, channels: int) -> None:
        super().__init__(
            nn.PixelUnshuffle(2),  # (N, 4, 16, 16)
            *convolution(4, channels, 3),  # (N, channels, 16, 16)
            *convolution(channels, channels * 2, 4, stride=2),  # (N, 2 channels, 8, 8)
            *convolution(channels * 2, channels * 4, 4, stride=2),  # (N, 4 channels, 4, 4)
            nn.Flatten(),
            nn.Linear(channels * 64, latent_dim),
        )


class StandardizedEncoder(nn.Module):
    """An encoder whose latents (N, latent_dim) `fit` standardizes, and whitens on request.

    Standardized latents have mean 0 and standard deviation 1. Whitening equalizes the variance of latent shifts under
    augmentation in all directions. This is the within-class covariance normalisation of Hatch et al. (2006) without
    labels: an image and its augmented copy stand for a class.
    """

    mean: Tensor
    deviation: Tensor
    whitening: Tensor | None

    def __init__(self, network: nn.Module, latent_dim: int, whiten: bool = False) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.zeros(latent_dim))
        self.register_buffer("deviation", torch.ones(latent_dim))
        self.register_buffer("whitening", torch.eye(latent_dim) if whiten else None)

    def fit(self, latents: Tensor, shifted: Tensor | None = None) -> None:
        """Sets the statistics from the network's latents (M, latent_dim); whitening needs those of augmented copies."""
        self.mean.copy_(latents.mean(dim=0))
        self.deviation.copy_(latents.std(dim=0).clamp_min(1e-6))
        if self.whitening is not None:
            assert shifted is not None
            standardized, shifts = (latents - self.mean) / self.deviation, (shifted - latents) / self.deviation
            variances, directions = torch.linalg.eigh(shifts.T @ shifts / len(shifts))
            whitening = directions / variances.clamp_min(1e-6).sqrt() @ directions.T
            self.whitening.copy_(whitening / (standardized @ whitening).square().mean().sqrt())  # mean variance 1 again

    def latents(self, images: Tensor) -> Tensor:
        """The network's own latents."""
        return torch.cat([self.network(chunk) for chunk in chunks(images)])

    def forward(self, images: Tensor) -> Tensor:
        latents = (self.latents(images) - self.mean) / self.deviation
        return latents if self.whitening is None else latents @ self.whitening
