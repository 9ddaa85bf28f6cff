"""The spaces of an adversarial game, see `SpaceProtocol`: images, or an autoencoder's latents."""

from collections.abc import Callable

from torch import Tensor, nn

from mnist_gen.data import IMAGE_SIZE
from mnist_gen.data.mnist import to_signed, to_unit
from mnist_gen.networks.encoders import StandardizedEncoder


class PixelSpace(nn.Module):
    """Images in [-1, 1]."""

    shape = (1, IMAGE_SIZE, IMAGE_SIZE)

    def enter(self, images: Tensor) -> Tensor:
        return to_signed(images)

    def leave(self, points: Tensor) -> Tensor:
        return to_unit(points)


class LatentSpace(nn.Module):
    """Latents (N, latent_dim) of a fixed, pretrained autoencoder, standardised over training images."""

    starts_pretrained = True

    def __init__(
        self, latent_dim: int, encoder: Callable[[int], nn.Module], decoder: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        self.shape = (latent_dim,)
        self.encoder = StandardizedEncoder(encoder(latent_dim), latent_dim)
        self.decoder = decoder(latent_dim)
        self.requires_grad_(False).eval()

    def start_from(self, encoder: nn.Module, decoder: nn.Module) -> None:
        self.encoder.network.load_state_dict(encoder.state_dict())
        self.decoder.load_state_dict(decoder.state_dict())

    def fit(self, images: Tensor) -> None:
        self.encoder.fit(self.encoder.latents(images))

    def enter(self, images: Tensor) -> Tensor:
        return self.encoder(images)

    def leave(self, points: Tensor) -> Tensor:
        return self.decoder(points * self.encoder.deviation + self.encoder.mean).sigmoid()
