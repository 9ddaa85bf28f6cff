"""Decoders: latents (N, latent_dim) -> pixel logits (N, 1, 32, 32)."""

from torch import nn

from mnist_gen.networks.layers import upsampling


class Decoder(nn.Sequential):
    """The student report's decoder: latents (N, latent_dim) -> pixel logits. 107,249 parameters at latent_dim=64."""

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


class PixelShuffleDecoder(nn.Sequential):
    """The strong decoder: latents (N, latent_dim) -> pixel logits.

    On a CPU, `upsampling` is several times faster than transposed convolutions that end in one channel.
    """

    def __init__(self, latent_dim: int, channels: int) -> None:
        super().__init__(
            nn.Linear(latent_dim, channels * 16),
            nn.Unflatten(1, (channels, 4, 4)),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            *upsampling(channels, channels),  # (N, channels, 8, 8)
            *upsampling(channels, channels // 2),  # (N, channels / 2, 16, 16)
            nn.Conv2d(channels // 2, 4, 3, padding=1),
            nn.PixelShuffle(2),  # (N, 1, 32, 32)
        )
