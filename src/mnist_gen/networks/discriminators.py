"""Discriminators: images or latents, with or without labels -> scores (N,), positive for "real"."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from mnist_gen.errors import UserError
from mnist_gen.networks.layers import LabelPlane

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "leaky_relu": partial(nn.LeakyReLU, 0.2)}
EPSILON = 1e-8  # added to variances: the gradient of a square root is infinite at 0
DEVIATION_WEIGHT = 8  # our choice: one deviation counts from the start among a thousand features


class Discriminator(nn.Module):
    """Images (N, 1, 32, 32) in [-1, 1] and labels (N,) -> scores (N,).

    The label joins the image as a plane. There is no normalisation: it would couple the images of a batch and distort
    the gradient penalties. `projection` adds <features, label embedding> to the score (Miyato & Koyama 2018).
    """

    def __init__(self, channels: int, activation: str, label_vectors: nn.Embedding | None, projection: bool) -> None:
        super().__init__()
        self.label_vectors = label_vectors
        self.plane = None if label_vectors is None else LabelPlane(label_vectors.embedding_dim)
        self.body = nn.Sequential(*_convolutions(1 if self.plane is None else 2, channels, activation), nn.Flatten())
        self.score = nn.Linear(channels * 64, 1)
        self.project: nn.Embedding | None = None
        if projection and label_vectors is not None:
            self.project = nn.Embedding(label_vectors.num_embeddings, channels * 64)
            nn.init.zeros_(self.project.weight)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.label_vectors is not None and self.plane is not None:
            images = torch.cat([images, self.plane(self.label_vectors(labels))], dim=1)  # (N, 2, 32, 32)
        features = self.body(images)  # (N, 64 channels)
        scores = self.score(features).squeeze(1)
        return scores if self.project is None else scores + (features * self.project(labels)).sum(dim=1)


class StackDiscriminator(nn.Sequential):
    """Stacks of images (N, planes, 32, 32) in [-1, 1] -> scores (N,); `group` above 1 adds a `MinibatchDeviation`."""

    def __init__(self, planes: int, channels: int, group: int = 1) -> None:
        body = nn.Sequential(*_convolutions(planes, channels, "leaky_relu"), nn.Flatten())
        deviation = [MinibatchDeviation(group)] if group > 1 else []
        super().__init__(body, *deviation, nn.Linear(channels * 64 + len(deviation), 1), nn.Flatten(0))


class MinibatchDeviation(nn.Module):
    """Features (N, F) -> (N, F + 1): appends the mean standard deviation within each group (Karras et al. 2018).

    It reveals a generator whose images vary too little. A group is `group` consecutive images, so real and generated
    images do not mix if the number of each is a multiple of `group`. Gradient penalties then depend on the whole group.
    """

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group

    def forward(self, features: Tensor) -> Tensor:
        if len(features) % self.group:
            raise UserError(f"model.discriminator.group={self.group}: must be a divisor of data.batch_size.")
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
            *_convolutions(planes, channels, "leaky_relu", halvings=1),  # (N, 2 channels, 8, 8)
            nn.Conv2d(channels * 2, 1, 3, padding=1),  # (N, 1, 8, 8)
            nn.AvgPool2d(8),
            nn.Flatten(0),
        )


class LatentDiscriminator(nn.Module):
    """An autoencoder's latents (N, latent_dim) and labels (N,) -> scores (N,). Label vectors join the latents."""

    def __init__(self, latent_dim: int, hidden: int, activation: str, label_vectors: nn.Embedding | None) -> None:
        super().__init__()
        activate = ACTIVATIONS[activation]
        self.label_vectors = label_vectors
        width = latent_dim + (label_vectors.embedding_dim if label_vectors else 0)
        self.body = nn.Sequential(
            nn.Linear(width, hidden), activate(), nn.Linear(hidden, hidden), activate(), nn.Linear(hidden, 1)
        )

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.label_vectors is not None:
            latents = torch.cat([latents, self.label_vectors(labels)], dim=1)
        return self.body(latents).squeeze(1)


def _convolutions(planes: int, channels: int, activation: str, halvings: int = 2) -> list[nn.Module]:
    """Images (N, planes, 32, 32) -> features (N, 4 channels, 4, 4), or larger ones after fewer halvings of the size."""
    activate = ACTIVATIONS[activation]
    layers = [nn.PixelUnshuffle(2), nn.Conv2d(4 * planes, channels, 3, padding=1), activate()]  # (N, channels, 16, 16)
    for width in [channels, channels * 2][:halvings]:
        layers += [nn.Conv2d(width, width * 2, 4, stride=2, padding=1), activate()]
    return layers
