"""GANs, conditional or not, on images or on an autoencoder's latents."""

from mnist_gen.gan.gan import GAN

__all__ = ["GAN"]
