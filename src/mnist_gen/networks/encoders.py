"""Encoders: images (N, 1, 32, 32) in [0, 1] -> latents."""

import torch
from torch import Tensor, nn

from mnist_gen.data.mnist import CHUNK
from mnist_gen.networks.layers import convolution

STATISTICS = 10_000  # unlabelled images from which codes are standardised


class Encoder(nn.Sequential):
    """The report's encoder: images in [0, 1] -> latents (N, latent_dim). 103,440 parameters at 64."""

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
    """The stronger encoder: images in [0, 1] -> latents (N, latent_dim), with batch normalisation."""

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
    """An encoder whose codes (N, latent_dim) have mean 0 and deviation 1 over those of `fit`, if that is called."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: nn.Module, latent_dim: int) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.zeros(latent_dim))
        self.register_buffer("deviation", torch.ones(latent_dim))

    def fit(self, codes: Tensor) -> None:
        """Takes mean and deviation from the network's codes."""
        self.mean.copy_(codes.mean(dim=0))
        self.deviation.copy_(codes.std(dim=0).clamp_min(1e-6))

    def codes(self, images: Tensor) -> Tensor:
        """The network's own codes."""
        return torch.cat([self.network(chunk) for chunk in images.split(CHUNK)])

    def forward(self, images: Tensor) -> Tensor:
        return (self.codes(images) - self.mean) / self.deviation


class WhitenedEncoder(StandardizedEncoder):
    """A standardised encoder whose codes, if that is asked for, move alike in all directions as an image is changed.

    Then the directions in which different images lie apart count for more. It is the within-class covariance
    normalisation of Hatch et al. (2006) without labels: an image's changes stand for a class.
    """

    whitening: Tensor

    def __init__(self, network: nn.Module, latent_dim: int) -> None:
        super().__init__(network, latent_dim)
        self.register_buffer("whitening", torch.eye(latent_dim))

    def fit(self, codes: Tensor, changed: Tensor | None = None) -> None:
        """Takes mean and deviation from the network's codes, and whitening from those of the same images changed."""
        super().fit(codes)
        if changed is not None:
            standardized, moves = (codes - self.mean) / self.deviation, (changed - codes) / self.deviation
            variances, directions = torch.linalg.eigh(moves.T @ moves / len(moves))
            whitening = directions / variances.clamp_min(1e-6).sqrt() @ directions.T
            self.whitening.copy_(whitening / (standardized @ whitening).square().mean().sqrt())  # mean variance 1 again

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) @ self.whitening
