"""What a GAN asks of its generator and of its space. A new architecture takes one class and one config.

`concat` says where a label joins the generator:

* `before`: the label vector joins the vector that enters the decoder. In the latent-space GAN, whose decoder takes no
  label, it joins the latent.
* `after`: a label plane joins the decoder's image.
"""

from typing import Protocol, runtime_checkable

from torch import Generator, Tensor, nn


class GeneratorProtocol(Protocol):
    """A generator: any `nn.Module` with these members, made from `latent_dim`, `label_vectors` and `concat`."""

    label_vectors: nn.Embedding | None  # labels (N,) -> (N, embedding_dim); None for a generator without labels

    def __call__(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Maps latents (N, latent_dim) and labels (N,) to images in [-1, 1] or latents (N, *space.shape)."""

    def from_vectors(self, latents: Tensor, vectors: Tensor | None) -> Tensor:
        """Like a call, for sampling and interpolation: takes label vectors (N, embedding_dim) instead of labels."""


class SpaceProtocol(Protocol):
    """The space of an adversarial game: any `nn.Module` with these members."""

    shape: tuple[int, ...]  # of an image or latent that the discriminator scores

    def enter(self, images: Tensor) -> Tensor:
        """Maps images (N, 1, 32, 32) in [0, 1] into the space."""

    def leave(self, points: Tensor) -> Tensor:
        """Maps images or latents of the space back to images in [0, 1]."""


class PseudoLabels(Protocol):
    """Labels that a model finds for real images, instead of the data set's: any `nn.Module` with these members."""

    count: int  # labels are 0 to count - 1
    are_digits: bool  # whether one can ask the GAN for a digit; otherwise samples get random labels

    def fit(self, images: Tensor) -> None:
        """Labels all training images (N, 1, 32, 32) in [0, 1] before training. What a checkpoint restored stays."""

    def __call__(self, positions: Tensor) -> Tensor:
        """The labels (n,) of the training images at these positions (n,)."""

    def draw(self, count: int, random: Generator) -> Tensor:
        """Random labels (count,) on the CPU, as frequent as among the training images."""


@runtime_checkable
class StartsPretrained(Protocol):
    """Optional: a generator or space with weights of a pretrained autoencoder."""

    @property
    def starts_pretrained(self) -> bool:
        """Whether to call `start_from` at all; this may depend on an option."""

    def start_from(self, encoder: nn.Module, decoder: nn.Module) -> None:
        """Copies weights from an autoencoder's networks, before the first training step."""


@runtime_checkable
class HasStatistics(Protocol):
    """Optional: a space with statistics of the training images."""

    def fit(self, images: Tensor) -> None:
        """Computes the statistics from images (N, 1, 32, 32) in [0, 1]."""
