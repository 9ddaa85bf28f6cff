"""Discriminators: images or latents, with or without labels -> scores."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mnist_gen.errors import UserError, check_choice
from mnist_gen.networks.label_vectors import LabelPlane

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
}
SMALLEST_VARIANCE = 1e-8  # a root's slope at 0 is infinite
WEIGHT_OF_DEVIATION = 8  # ours, so that one number among a thousand counts from the start


class Discriminator(nn.Module):
    """Images in [-1, 1] and labels (N,) -> scores (N,), positive for "real".

    The label enters as a plane concatenated with the image. No normalisation: it would tie the images of a batch
    together and spoil the gradient penalties.

    Args:
        channels: width of the first convolution; it doubles twice.
        activation: `relu` or `leaky_relu`.
        code: labels' vectors, or None.
        projection: adds <features, a vector of the label> to the score (Miyato & Koyama 2018).
    """

    def __init__(self, channels: int, activation: str, code: nn.Embedding | None, projection: bool) -> None:
        super().__init__()
        check_choice("activation", activation, tuple(ACTIVATIONS))
        active = ACTIVATIONS[activation]
        self.code = code
        self.plane = None if code is None else LabelPlane(code.embedding_dim)
        self.body = _halving(1 if self.plane is None else 2, channels, active)
        self.score = nn.Linear(channels * 64, 1)
        self.project: nn.Embedding | None = None
        if projection and code is not None:
            self.project = nn.Embedding(code.num_embeddings, channels * 64)
            nn.init.zeros_(self.project.weight)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.code is not None and self.plane is not None:
            images = torch.cat([images, self.plane(self.code(labels))], dim=1)
        features = self.body(images)  # (N, 64 channels)
        scores = self.score(features).squeeze(1)
        if self.project is not None:
            scores = scores + (features * self.project(labels)).sum(dim=1)
        return scores


class StackDiscriminator(nn.Sequential):
    """Images in [-1, 1], or some of them one over the other, (N, planes, 32, 32) -> scores (N,).

    Args:
        planes: images that are looked at together.
        channels: width of the first convolution; it doubles twice.
        group: images that are looked at as a batch, see `MinibatchDeviation`; 1: each by itself.

    Raises:
        UserError: no channels, or no group.
    """

    def __init__(self, planes: int, channels: int, group: int = 1) -> None:
        _check_size("channels", channels)
        _check_size("group", group)
        features = channels * 64
        body = _halving(planes, channels, ACTIVATIONS["leaky_relu"])
        alike = [MinibatchDeviation(group)] if group > 1 else []
        super().__init__(body, *alike, nn.Linear(features + len(alike), 1), nn.Flatten(0))


class MinibatchDeviation(nn.Module):
    """Features (N, F) -> (N, F + 1): beside each the mean deviation within its group (Karras et al. 2018).

    Images that are too much alike give themselves away by it. A group is some images one after the other, so that real
    and made ones do not mix if both are multiples of it. A gradient penalty then looks at the whole group.

    Args:
        group: images in one.

    Raises:
        UserError: the images do not come in such groups.
    """

    def __init__(self, group: int) -> None:
        super().__init__()
        self.group = group

    def forward(self, features: Tensor) -> Tensor:
        if len(features) % self.group:
            raise UserError(f"model.discriminator.group={self.group}: must be a divisor of data.batch_size.")
        groups = features.reshape(-1, self.group, features.shape[1])
        deviations = (groups.var(dim=1, correction=0) + SMALLEST_VARIANCE).sqrt().mean(dim=1)
        beside = WEIGHT_OF_DEVIATION * deviations.repeat_interleave(self.group)
        return torch.cat([features, beside[:, None]], dim=1)


class PatchDiscriminator(nn.Sequential):
    """As `StackDiscriminator`, each patch of 20 x 20 pixels by itself (Isola et al. 2017): the mean of their scores.

    It sees how sharp lines are, not what they add up to.

    Args:
        planes: images that are looked at together.
        channels: width of the first convolution; the second has double that.

    Raises:
        UserError: no channels.
    """

    def __init__(self, planes: int, channels: int) -> None:
        _check_size("channels", channels)
        active = ACTIVATIONS["leaky_relu"]
        super().__init__(
            nn.PixelUnshuffle(2),  # (N, 4 planes, 16, 16)
            nn.Conv2d(4 * planes, channels, 3, padding=1),
            active(),
            nn.Conv2d(channels, channels * 2, 4, stride=2, padding=1),  # (N, 2 channels, 8, 8)
            active(),
            nn.Conv2d(channels * 2, 1, 3, padding=1),
            nn.AvgPool2d(8),
            nn.Flatten(0),
        )


def _check_size(key: str, size: int) -> None:
    if size < 1:
        raise UserError(f"model.discriminator.{key}={size}: must be at least 1.")


def _halving(planes: int, channels: int, active: Callable[[], nn.Module]) -> nn.Sequential:
    """Images (N, planes, 32, 32) -> features (N, 64 channels)."""
    return nn.Sequential(
        nn.PixelUnshuffle(2),  # (N, 4 planes, 16, 16)
        nn.Conv2d(4 * planes, channels, 3, padding=1),
        active(),
        nn.Conv2d(channels, channels * 2, 4, stride=2, padding=1),  # (N, 2 channels, 8, 8)
        active(),
        nn.Conv2d(channels * 2, channels * 4, 4, stride=2, padding=1),  # (N, 4 channels, 4, 4)
        active(),
        nn.Flatten(),
    )


class CodeDiscriminator(nn.Module):
    """An autoencoder's codes (N, code_dim) and labels (N,) -> scores (N,), positive for "real".

    Args:
        code_dim: length of a code.
        hidden: width of the two hidden layers.
        activation: `relu` or `leaky_relu`.
        code: labels' vectors, which join the autoencoder's, or None.
    """

    def __init__(self, code_dim: int, hidden: int, activation: str, code: nn.Embedding | None) -> None:
        super().__init__()
        check_choice("activation", activation, tuple(ACTIVATIONS))
        active = ACTIVATIONS[activation]
        self.code = code
        width = code_dim + (code.embedding_dim if code else 0)
        self.body = nn.Sequential(
            nn.Linear(width, hidden), active(), nn.Linear(hidden, hidden), active(), nn.Linear(hidden, 1)
        )

    def forward(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.body(codes if self.code is None else torch.cat([codes, self.code(labels)], dim=1)).squeeze(1)
