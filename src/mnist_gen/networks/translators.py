"""Translators: images (N, 1, 32, 32) in [-1, 1] -> images in [-1, 1]."""

from functools import partial

import torch
from torch import Tensor, nn

from mnist_gen.data.mnist import to_signed, to_unit
from mnist_gen.errors import UserError
from mnist_gen.networks.decoders import PixelShuffleDecoder
from mnist_gen.networks.encoders import WideEncoder
from mnist_gen.networks.layers import Residual, convolution, upsampling


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
        self.enter = nn.Sequential(
            nn.PixelUnshuffle(2), *convolution(4, channels, 3, norm=norm)
        )  # (N, channels, 16, 16)
        self.inner = nn.Sequential(
            *convolution(channels, channels * 2, 4, stride=2, norm=norm),  # (N, 2 channels, 8, 8)
            *(Residual(channels * 2, norm) for _ in range(blocks)),
            *upsampling(channels * 2, channels, norm),  # (N, channels, 16, 16)
        )
        self.leave = nn.Sequential(
            *convolution(channels * 2, channels, 3, norm=norm),
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


def _check_sizes(least: int, **sizes: int) -> None:
    """Refuses a translator's size below the least."""
    for key, size in sizes.items():
        if size < least:
            raise UserError(f"model.generator.{key}={size}: must be at least {least}.")
