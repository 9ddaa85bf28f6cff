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
    """A translator at two scales with a skip connection, which passes each pixel's detail on (Ronneberger et al. 2015).

    Instance normalisation (Ulyanov et al. 2016): in a cycle the network also sees images of its target class, and batch
    statistics would mix both classes.
    """

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        norm = partial(nn.InstanceNorm2d, affine=True)
        self.enter = nn.Sequential(nn.PixelUnshuffle(2), *convolution(4, channels, 3, norm=norm))
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
        features = self.enter(images)  # (N, channels, 16, 16)
        return self.leave(torch.cat([features, self.inner(features)], dim=1))


class EncoderDecoder(nn.Module):
    """A translator through a bottleneck (N, latent_dim), without skip connections.

    Isola et al. (2017) compare it with the U-Net. Batch normalisation suits translation in one direction better than a
    cycle.
    """

    def __init__(self, latent_dim: int, encoder_channels: int, decoder_channels: int) -> None:
        super().__init__()
        self.encoder = WideEncoder(latent_dim, encoder_channels)
        self.standardize = nn.BatchNorm1d(latent_dim, affine=False)  # mean 0 and deviation 1, like a GAN's latents
        self.decoder = PixelShuffleDecoder(latent_dim, decoder_channels)

    def forward(self, images: Tensor) -> Tensor:
        if self.training and len(images) == 1:
            raise UserError("data.batch_size=1: must be at least 2, because an encoder_decoder normalises batches.")
        latents = self.standardize(self.encoder(to_unit(images)))  # (N, latent_dim)
        return to_signed(self.decoder(latents).sigmoid())
