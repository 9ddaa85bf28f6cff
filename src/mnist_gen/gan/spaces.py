"""Where an adversarial game is played: on images, or on an autoencoder's codes.

A space turns images in [0, 1], (N, 1, 32, 32), into the points that the discriminator scores, and back.
"""

from collections.abc import Callable

from torch import Tensor, nn

from mnist_gen.data.mnist import IMAGE_SIZE, to_signed, to_unit
from mnist_gen.networks.encoders import StandardizedEncoder


class Pixels(nn.Module):
    """Images in [-1, 1]."""

    shape = (1, IMAGE_SIZE, IMAGE_SIZE)  # of a point
    starts_pretrained = False

    def start_from(self, encoder: nn.Module, decoder: nn.Module) -> None:
        """Nothing: no part of it is an autoencoder's."""

    def fit(self, images: Tensor) -> None:
        """Nothing: there are no statistics to take."""

    def enter(self, images: Tensor) -> Tensor:
        """Images as points."""
        return to_signed(images)

    def leave(self, points: Tensor) -> Tensor:
        """Points as images."""
        return to_unit(points)


class Codes(nn.Module):
    """A pretrained autoencoder's codes (N, code_dim), standardised over training images; it never learns.

    Args:
        code_dim: length of a code.
        encoder: makes the network from images to codes, given that length.
        decoder: makes the network from codes to pixel logits, given that length.
    """

    starts_pretrained = True

    def __init__(self, code_dim: int, encoder: Callable[[int], nn.Module], decoder: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.shape = (code_dim,)
        self.encoder = StandardizedEncoder(encoder(code_dim), code_dim)
        self.decoder = decoder(code_dim)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Codes":
        """Batch statistics stay the pretrained ones."""
        return super().train(False)

    def start_from(self, encoder: nn.Module, decoder: nn.Module) -> None:
        """Takes the weights of an autoencoder's networks."""
        self.encoder.network.load_state_dict(encoder.state_dict())
        self.decoder.load_state_dict(decoder.state_dict())

    def fit(self, images: Tensor) -> None:
        """Takes the codes' mean and deviation over images."""
        self.encoder.fit(self.encoder.codes(images))

    def enter(self, images: Tensor) -> Tensor:
        """Images as points."""
        return self.encoder(images)

    def leave(self, points: Tensor) -> Tensor:
        """Points as images."""
        return self.decoder(points * self.encoder.deviation + self.encoder.mean).sigmoid()
