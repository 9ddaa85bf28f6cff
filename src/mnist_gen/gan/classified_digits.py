"""Digits that a classifier reads in the training images, instead of the data set's labels."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mnist_gen.data import NUM_CLASSES
from mnist_gen.data.mnist import chunks
from mnist_gen.transfer.semi import SemiSupervised, classifier


class ClassifiedDigits(nn.Module):
    """Digits of the training images, drawn anew each time by a classifier's probabilities.

    So an image of which the classifier is certain keeps its digit, and one that might be a 4 or a 9 counts for both.
    """

    count = NUM_CLASSES
    are_digits = True
    shares: Tensor
    probabilities: Tensor

    def __init__(self, latent_dim: int, encoder: Callable[[int], nn.Module], head: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.network = classifier(latent_dim, encoder, head).requires_grad_(False).eval()
        self.register_buffer("shares", torch.zeros(NUM_CLASSES))  # of the training images in each digit
        self.register_buffer("probabilities", torch.empty(0, NUM_CLASSES), persistent=False)  # of the training images

    def start_from(self, trained: SemiSupervised) -> None:
        self.network.load_state_dict(trained.averaged.state_dict())

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        self.probabilities = torch.cat([self.network(chunk).softmax(dim=1) for chunk in chunks(images)])
        self.shares.copy_(self.probabilities.mean(dim=0))

    def forward(self, positions: Tensor) -> Tensor:
        probabilities = self.probabilities[positions]
        # The digit whose exponential clock, of this rate, rings first. `multinomial` cannot be captured on a GPU.
        return (probabilities / torch.empty_like(probabilities).exponential_()).argmax(dim=1)

    def draw(self, count: int, random: torch.Generator) -> Tensor:
        return torch.multinomial(self.shares.cpu(), count, replacement=True, generator=random)
