"""Discriminators: images or latents, with or without labels -> scores (N,), positive for "real".

Each also has `scores_and_gradients(points, labels, count)`: the scores (N,), and their gradients at the first `count`
points, on which a penalty can train; in closed form if it can, see `input_gradients`.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mnist_gen.errors import check_divisor
from mnist_gen.networks.input_gradients import by_autograd, with_pullback
from mnist_gen.networks.layers import LabelPlane

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": partial(nn.ReLU, inplace=True),
    "leaky_relu": partial(nn.LeakyReLU, 0.2, inplace=True),
}
EPSILON = 1e-8  # added to variances: the gradient of a square root is infinite at 0
BLOCKS = (4, 16, 16)  # of an image: its 2 x 2 blocks of pixels, as channels
DEVIATION_WEIGHT = 8  # our choice: one deviation counts from the start among a thousand features


class Discriminator(nn.Module):
    """Images (N, 1, 32, 32) in [-1, 1] and labels (N,) -> scores (N,).

    The label joins the image as a plane; both enter as 2 x 2 blocks of pixels, so that all convolutions run at half the
    resolution. There is no normalisation: it would couple the images of a batch and distort the gradient penalties.
    `projection` adds <features, label embedding> to the score (Miyato & Koyama 2018).
    """

    def __init__(self, channels: int, activation: str, label_vectors: nn.Embedding | None, projection: bool) -> None:
        super().__init__()
        self.label_vectors = label_vectors
        self.plane = None if label_vectors is None else LabelPlane(label_vectors.embedding_dim, BLOCKS)
        planes = 1 if self.plane is None else 2
        self.body = nn.Sequential(*_convolutions(planes * BLOCKS[0], channels, activation), nn.Flatten())
        self.score = nn.Linear(channels * 64, 1)
        self.project: nn.Embedding | None = None
        if projection and label_vectors is not None:
            self.project = nn.Embedding(label_vectors.num_embeddings, channels * 64)
            nn.init.zeros_(self.project.weight)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return self._scores(self.body(self._blocks(images, labels)), labels)

    def _blocks(self, images: Tensor, labels: Tensor | None) -> Tensor:
        blocks = F.pixel_unshuffle(images, 2)  # (N, 4, 16, 16)
        if self.label_vectors is None or self.plane is None:
            return blocks
        return torch.cat([blocks, self.plane(self.label_vectors(labels))], dim=1)  # (N, 8, 16, 16)

    def _scores(self, features: Tensor, labels: Tensor | None) -> Tensor:
        scores = self.score(features).squeeze(1)
        return scores if self.project is None else scores + (features * self.project(labels)).sum(dim=1)

    def scores_and_gradients(self, images: Tensor, labels: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
        """See the module's docstring."""
        features, pull = with_pullback(self.body, self._blocks(images, labels), count)  # (N, 64 channels)
        weights = self.score.weight.expand(count, -1)
        if self.project is not None and labels is not None:
            weights = weights + self.project(labels[:count])
        return self._scores(features, labels), F.pixel_shuffle(pull(weights)[:, : BLOCKS[0]], 2)


class StackDiscriminator(nn.Sequential):
    """Stacks of images (N, planes, 32, 32) in [-1, 1] -> scores (N,); `group` above 1 adds a `MinibatchDeviation`."""

    def __init__(self, planes: int, channels: int, group: int = 1) -> None:
        convolutions = _convolutions(4 * planes, channels, "leaky_relu")
        body = nn.Sequential(nn.PixelUnshuffle(2), *convolutions, nn.Flatten())
        deviation = [MinibatchDeviation(group)] if group > 1 else []
        super().__init__(body, *deviation, nn.Linear(channels * 64 + len(deviation), 1), nn.Flatten(0))
        self.piecewise_linear = group == 1

    def scores_and_gradients(self, stacks: Tensor, labels: None, count: int) -> tuple[Tensor, Tensor]:
        """See the module's docstring."""
        return _closed_form(self, stacks, count) if self.piecewise_linear else by_autograd(self, stacks, labels, count)


class MinibatchDeviation(nn.Module):
    """Features (N, F) -> (N, F + 1): appends the mean standard deviation within each group (Karras et al. 2018).

    It reveals a generator whose images vary too little. A group is `group` consecutive images, so real and generated
    images do not mix if the number of each is a multiple of `group`. Gradient penalties then depend on the whole group.
    """

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group

    def forward(self, features: Tensor) -> Tensor:
        check_divisor("model.discriminator.group", self.group, len(features), "data.batch_size")
        groups = features.reshape(-1, self.group, features.shape[1])  # (N / group, group, F)
        deviations = (groups.var(dim=1, correction=0) + EPSILON).sqrt().mean(dim=1)  # (N / group,)
        extra = DEVIATION_WEIGHT * deviations.repeat_interleave(self.group)
        return torch.cat([features, extra[:, None]], dim=1)


class PatchDiscriminator(nn.Sequential):
    """Stacks of images (N, planes, 32, 32) -> mean scores (N,) of their 20 x 20 patches (Isola et al. 2017).

    It judges the sharpness of strokes, not the shape they form.
    """

    def __init__(self, planes: int, channels: int) -> None:
        super().__init__(
            nn.PixelUnshuffle(2),
            *_convolutions(4 * planes, channels, "leaky_relu", halvings=1),  # (N, 2 channels, 8, 8)
            nn.Conv2d(channels * 2, 1, 3, padding=1),  # (N, 1, 8, 8)
            nn.AvgPool2d(8),
            nn.Flatten(0),
        )

    def scores_and_gradients(self, stacks: Tensor, labels: None, count: int) -> tuple[Tensor, Tensor]:
        """See the module's docstring."""
        return _closed_form(self, stacks, count)


class LatentDiscriminator(nn.Module):
    """An autoencoder's latents (N, latent_dim) and labels (N,) -> scores (N,). Label vectors join the latents."""

    def __init__(self, latent_dim: int, hidden: int, activation: str, label_vectors: nn.Embedding | None) -> None:
        super().__init__()
        activate = ACTIVATIONS[activation]
        self.label_vectors = label_vectors
        width = latent_dim + (label_vectors.embedding_dim if label_vectors else 0)
        self.body = nn.Sequential(
            nn.Linear(width, hidden),
            activate(),
            nn.Linear(hidden, hidden),
            activate(),
            nn.Linear(hidden, 1),
            nn.Flatten(0),
        )

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.body(self._joined(latents, labels))

    def _joined(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        return latents if self.label_vectors is None else torch.cat([latents, self.label_vectors(labels)], dim=1)

    def scores_and_gradients(self, latents: Tensor, labels: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
        """See the module's docstring."""
        scores, gradients = _closed_form(self.body, self._joined(latents, labels), count)
        return scores, gradients[:, : latents.shape[1]]


def _closed_form(layers: nn.Sequential, points: Tensor, count: int) -> tuple[Tensor, Tensor]:
    scores, pull = with_pullback(layers, points, count)
    return scores, pull(torch.ones_like(scores[:count]))


def _convolutions(in_channels: int, channels: int, activation: str, halvings: int = 2) -> list[nn.Module]:
    """Blocks (N, in_channels, 16, 16) -> features (N, 4 channels, 4, 4), or larger ones after fewer halvings."""
    activate = ACTIVATIONS[activation]
    layers = [nn.Conv2d(in_channels, channels, 3, padding=1), activate()]  # (N, channels, 16, 16)
    for width in [channels, channels * 2][:halvings]:
        layers += [nn.Conv2d(width, width * 2, 4, stride=2, padding=1), activate()]
    return layers
