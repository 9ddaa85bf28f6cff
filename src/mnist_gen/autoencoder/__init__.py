"""A denoising autoencoder."""

from mnist_gen.autoencoder.autoencoder import Autoencoder

__all__ = ["Autoencoder"]
