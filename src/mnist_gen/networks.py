"""Encoders, decoders, classifiers and translators. They know nothing of training; images are (N, 1, 32, 32)."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_gen.data import CHUNK, NUM_CLASSES, to_signed, to_unit
from mnist_gen.errors import UserError

Norm = Callable[[int], nn.Module]  # makes a normalisation of so many channels

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


class Decoder(nn.Sequential):
    """The report's decoder: latents (N, latent_dim) -> logits of pixels in [0, 1]. 107,249 parameters at 64."""

    def __init__(self, latent_dim: int = 64) -> None:
        super().__init__(
            nn.Linear(latent_dim, 384),
            nn.ReLU(),
            nn.Unflatten(1, (96, 2, 2)),
            nn.ConvTranspose2d(96, 64, 3, stride=2, padding=1, output_padding=1),  # (N, 64, 4, 4)
            nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 3, stride=2, padding=1, output_padding=1),  # (N, 32, 8, 8)
            nn.ReLU(),
            nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1),  # (N, 16, 16, 16)
            nn.ReLU(),
            nn.ConvTranspose2d(16, 1, 4, stride=2, padding=1),  # (N, 1, 32, 32)
        )


class WideEncoder(nn.Sequential):
    """The stronger encoder: images in [0, 1] -> latents (N, latent_dim), with batch normalisation."""

    def __init__(self, latent_dim: int, channels: int) -> None:
        super().__init__(
            nn.PixelUnshuffle(2),  # (N, 4, 16, 16)
            *_normed(4, channels, 3),  # (N, channels, 16, 16)
            *_normed(channels, channels * 2, 4, stride=2),  # (N, 2 channels, 8, 8)
            *_normed(channels * 2, channels * 4, 4, stride=2),  # (N, 4 channels, 4, 4)
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


class PixelShuffleDecoder(nn.Sequential):
    """The stronger decoder: latents (N, latent_dim) -> logits of pixels in [0, 1].

    Every convolution runs at half the resolution it writes and `PixelShuffle` doubles it (Shi et al. 2016): on a
    CPU several times faster than transposed convolutions that end in one channel.
    """

    def __init__(self, latent_dim: int, channels: int) -> None:
        super().__init__(
            nn.Linear(latent_dim, channels * 16),
            nn.Unflatten(1, (channels, 4, 4)),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            *_doubled(channels, channels),  # (N, channels, 8, 8)
            *_doubled(channels, channels // 2),  # (N, channels / 2, 16, 16)
            nn.Conv2d(channels // 2, 4, 3, padding=1),
            nn.PixelShuffle(2),  # (N, 1, 32, 32)
        )


def _doubled(channels: int, out_channels: int, norm: Norm = nn.BatchNorm2d) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, out_channels * 4, 3, padding=1),
        nn.PixelShuffle(2),
        norm(out_channels),
        nn.ReLU(),
    ]


class UNet(nn.Module):
    """Images in [-1, 1] -> images in [-1, 1], (N, 1, 32, 32), at two scales (Ronneberger et al. 2015).

    A skip connection hands each pixel on to where it came from. Each image is normalised by itself (Ulyanov et al.
    2016): in a cycle the network also sees images of the class it makes, and a batch's statistics would be of both.

    Args:
        channels: width at half resolution; double that at a quarter.
        blocks: residual blocks at a quarter of the resolution (He et al. 2016).

    Raises:
        UserError: no channels, or a negative number of blocks.
    """

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        _check_sizes(1, channels=channels)
        _check_sizes(0, blocks=blocks)
        norm = partial(nn.InstanceNorm2d, affine=True)
        self.enter = nn.Sequential(nn.PixelUnshuffle(2), *_normed(4, channels, 3, norm=norm))  # (N, channels, 16, 16)
        self.inner = nn.Sequential(
            *_normed(channels, channels * 2, 4, stride=2, norm=norm),  # (N, 2 channels, 8, 8)
            *(Residual(channels * 2, norm) for _ in range(blocks)),
            *_doubled(channels * 2, channels, norm),  # (N, channels, 16, 16)
        )
        self.leave = nn.Sequential(
            *_normed(channels * 2, channels, 3, norm=norm),
            nn.Conv2d(channels, 4, 3, padding=1),
            nn.PixelShuffle(2),
            nn.Tanh(),
        )

    def forward(self, images: Tensor) -> Tensor:
        entered = self.enter(images)
        return self.leave(torch.cat([entered, self.inner(entered)], dim=1))


class EncoderDecoder(nn.Module):
    """Images in [-1, 1] -> images in [-1, 1], (N, 1, 32, 32), through a bottleneck, without skip connections.

    Isola et al. (2017) compare it with the U-Net. Batches are normalised together, so that it suits one way more than a
    cycle.

    Args:
        code_dim: numbers in the bottleneck.
        encoder_channels: width of the encoder at half resolution, see `WideEncoder`.
        decoder_channels: width of the decoder at its lowest resolution, see `PixelShuffleDecoder`.

    Raises:
        UserError: no code, or too few channels; or, in training, a batch of one.
    """

    def __init__(self, code_dim: int, encoder_channels: int, decoder_channels: int) -> None:
        super().__init__()
        _check_sizes(1, code_dim=code_dim, encoder_channels=encoder_channels)
        _check_sizes(2, decoder_channels=decoder_channels)
        self.encoder = WideEncoder(code_dim, encoder_channels)
        self.standardize = nn.BatchNorm1d(code_dim, affine=False)  # mean 0 and deviation 1, as a GAN's latents
        self.decoder = PixelShuffleDecoder(code_dim, decoder_channels)

    def forward(self, images: Tensor) -> Tensor:
        if self.training and len(images) == 1:
            raise UserError("data.batch_size=1: an encoder_decoder normalises batches, of at least 2 images.")
        return to_signed(self.decoder(self.standardize(self.encoder(to_unit(images)))).sigmoid())


class Residual(nn.Module):
    """Two convolutions beside a shortcut, (N, channels, H, W) -> the same."""

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        layers = [*_normed(channels, channels, 3, norm=norm), *_normed(channels, channels, 3, norm=norm)]
        self.body = nn.Sequential(*layers[:-1])

    def forward(self, features: Tensor) -> Tensor:
        return F.relu(features + self.body(features))


class Scorer(nn.Module):
    """The reference classifier: images in [0, 1] -> logits (N, 10); `features` gives (N, 128)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_normed(1, 16, 3),  # (N, 16, 32, 32)
            *_normed(16, 32, 4, stride=2),  # (N, 32, 16, 16)
            *_normed(32, 32, 3),
            *_normed(32, 64, 4, stride=2),  # (N, 64, 8, 8)
            *_normed(64, 64, 3),
            *_normed(64, 128, 4, stride=2),  # (N, 128, 4, 4)
            *_normed(128, 128, 3),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(128, NUM_CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


class Probe(nn.Sequential):
    """The classifier that CAS trains: images in [0, 1] -> logits (N, 10). Small, for it is trained at each test."""

    def __init__(self) -> None:
        super().__init__(
            nn.PixelUnshuffle(2),  # (N, 4, 16, 16)
            *_normed(4, 16, 3),
            *_normed(16, 32, 4, stride=2),  # (N, 32, 8, 8)
            *_normed(32, 64, 4, stride=2),  # (N, 64, 4, 4)
            nn.Flatten(),
            nn.Linear(1024, NUM_CLASSES),
        )


def _check_sizes(least: int, **sizes: int) -> None:
    """Refuses a translator's size below the least."""
    for key, size in sizes.items():
        if size < least:
            raise UserError(f"model.generator.{key}={size}: must be at least {least}.")


def _normed(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, norm: Norm = nn.BatchNorm2d
) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding=1, bias=False),
        norm(out_channels),
        nn.ReLU(),
    ]
