"""The networks. They know nothing of training; images are (N, 1, 32, 32)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mnist_gen.data import IMAGE_SIZE, NUM_CLASSES, to_signed
from mnist_gen.errors import UserError

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
}
LABELS = ("onehot", "embedding")
CONCATS = ("before", "after")
LASTS = ("sigmoid", "conv_tanh")


class Encoder(nn.Sequential):
    """The report's encoder: images in [0, 1] -> latents (N, latent_dim). 103,440 parameters at 64."""

    def __init__(self, latent_dim: int = 64) -> None:
        super().__init__(
            nn.Conv2d(1, 16, 4, stride=2, padding=1),  # (N, 16, 16, 16)
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),  # (N, 32, 8, 8)
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),  # (N, 64, 4, 4)
            nn.ReLU(),
            nn.Conv2d(64, 96, 3, stride=2, padding=1),  # (N, 96, 2, 2)
            nn.ReLU(),
            nn.Flatten(),  # (N, 384)
            nn.Linear(384, latent_dim),
        )


class Decoder(nn.Sequential):
    """The report's decoder: latents (N, latent_dim) -> logits of pixels in [0, 1]. 107,249 parameters at 64."""

    def __init__(self, latent_dim: int = 64) -> None:
        super().__init__(
            nn.Linear(latent_dim, 384),
            nn.ReLU(),
            nn.Unflatten(1, (96, 2, 2)),
            nn.ConvTranspose2d(96, 64, 3, stride=2, padding=1, output_padding=1),  # (N, 64, 4, 4)
            nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 3, stride=2, padding=1, output_padding=1),  # (N, 32, 8, 8)
            nn.ReLU(),
            nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1),  # (N, 16, 16, 16)
            nn.ReLU(),
            nn.ConvTranspose2d(16, 1, 4, stride=2, padding=1),  # (N, 1, 32, 32)
        )


class WideEncoder(nn.Sequential):
    """The stronger encoder: images in [0, 1] -> latents (N, latent_dim), with batch normalisation."""

    def __init__(self, latent_dim: int, channels: int) -> None:
        super().__init__(
            nn.PixelUnshuffle(2),  # (N, 4, 16, 16)
            *_normed(4, channels, 3),  # (N, channels, 16, 16)
            *_normed(channels, channels * 2, 4, stride=2),  # (N, 2 channels, 8, 8)
            *_normed(channels * 2, channels * 4, 4, stride=2),  # (N, 4 channels, 4, 4)
            nn.Flatten(),
            nn.Linear(channels * 64, latent_dim),
        )


class LinearHead(nn.Sequential):
    """The report's minimal classifier: codes (N, latent_dim) -> logits (N, 10). 650 parameters at 64."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__(nn.Linear(latent_dim, NUM_CLASSES))


class MLPHead(nn.Sequential):
    """A small MLP with dropout: codes (N, latent_dim) -> logits (N, 10)."""

    def __init__(self, latent_dim: int, hidden: int, dropout: float) -> None:
        super().__init__(
            nn.Linear(latent_dim, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, NUM_CLASSES),
        )


class PixelShuffleDecoder(nn.Sequential):
    """The stronger decoder: latents (N, latent_dim) -> logits of pixels in [0, 1].

    Every convolution runs at half the resolution it writes and `PixelShuffle` doubles it (Shi et al. 2016): on a
    CPU several times faster than transposed convolutions that end in one channel.
    """

    def __init__(self, latent_dim: int, channels: int) -> None:
        super().__init__(
            nn.Linear(latent_dim, channels * 16),
            nn.Unflatten(1, (channels, 4, 4)),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            *_doubled(channels, channels),  # (N, channels, 8, 8)
            *_doubled(channels, channels // 2),  # (N, channels / 2, 16, 16)
            nn.Conv2d(channels // 2, 4, 3, padding=1),
            nn.PixelShuffle(2),  # (N, 1, 32, 32)
        )


def _doubled(channels: int, out_channels: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, out_channels * 4, 3, padding=1),
        nn.PixelShuffle(2),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    ]


def label_code(label: str, embedding_dim: int) -> nn.Embedding:
    """Labels (N,) -> vectors (N, code.embedding_dim): a learned `embedding`, or `onehot`, the fixed one of size 10."""
    _check_choice("label", label, LABELS)
    if embedding_dim < 1:
        raise UserError(f"embedding_dim={embedding_dim}: must be at least 1.")
    if label == "onehot":
        return nn.Embedding.from_pretrained(torch.eye(NUM_CLASSES))
    return nn.Embedding(NUM_CLASSES, embedding_dim)


class LabelPlane(nn.Sequential):
    """Labels (N,) -> one image-sized channel (N, 1, 32, 32): a label code, projected."""

    def __init__(self, label: str, embedding_dim: int) -> None:
        code = label_code(label, embedding_dim)
        super().__init__(
            code, nn.Linear(code.embedding_dim, IMAGE_SIZE**2), nn.Unflatten(1, (1, IMAGE_SIZE, IMAGE_SIZE))
        )


class Generator(nn.Module):
    """Latents (N, latent_dim) and labels (N,) -> images in [-1, 1].

    Args:
        decoder: makes a network from vectors of the given length to pixel logits (N, 1, 32, 32).
        latent_dim: length of a latent.
        label: `onehot`, `embedding` or None; without labels the generator is unconditional.
        embedding_dim: length of a label's embedding.
        concat: `before` joins the label's code to the latent; `after` joins a label plane to the decoder's image
            and goes on with convolutions.
        last: `sigmoid`, the decoder's own image in [0, 1]; `conv_tanh`, a further convolution and tanh.
    """

    def __init__(
        self,
        decoder: Callable[[int], nn.Module],
        latent_dim: int,
        label: str | None,
        embedding_dim: int,
        concat: str,
        last: str,
    ) -> None:
        super().__init__()
        _check_choice("concat", concat, CONCATS)
        _check_choice("last", last, LASTS)
        self.code: nn.Embedding | None = None
        self.plane: nn.Module | None = None
        if label is not None and concat == "before":
            self.code = label_code(label, embedding_dim)
        if label is not None and concat == "after":
            self.plane = LabelPlane(label, embedding_dim)
            self.refine = _refiner()
        self.decoder = decoder(latent_dim + (self.code.embedding_dim if self.code else 0))
        self.last = nn.Conv2d(1, 1, 3, padding=1) if last == "conv_tanh" else None

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.code is not None:
            latents = torch.cat([latents, self.code(labels)], dim=1)
        logits = self.decoder(latents)
        if self.plane is not None:
            logits = self.refine(torch.cat([logits.tanh(), self.plane(labels)], dim=1))
        images = logits.sigmoid()
        return to_signed(images) if self.last is None else self.last(images).tanh()


def _refiner(channels: int = 64) -> nn.Sequential:
    """An image and a label plane (N, 2, 32, 32) -> logits (N, 1, 32, 32), computed at half resolution."""
    return nn.Sequential(
        nn.PixelUnshuffle(2),  # (N, 8, 16, 16)
        nn.Conv2d(8, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, 4, 3, padding=1),
        nn.PixelShuffle(2),
    )


class Discriminator(nn.Module):
    """Images in [-1, 1] and labels (N,) -> scores (N,), positive for "real".

    The label enters as a plane concatenated with the image. No normalisation: it would tie the images of a batch
    together and spoil the gradient penalties.

    Args:
        channels: width of the first convolution; it doubles twice.
        activation: `relu` or `leaky_relu`.
        label: `onehot`, `embedding` or None.
        embedding_dim: length of a label's embedding.
        projection: adds <features, a vector of the label> to the score (Miyato & Koyama 2018).
    """

    def __init__(self, channels: int, activation: str, label: str | None, embedding_dim: int, projection: bool) -> None:
        super().__init__()
        _check_choice("activation", activation, tuple(ACTIVATIONS))
        active = ACTIVATIONS[activation]
        self.plane = LabelPlane(label, embedding_dim) if label is not None else None
        self.body = nn.Sequential(
            nn.PixelUnshuffle(2),  # (N, 4 or 8, 16, 16)
            nn.Conv2d(4 if self.plane is None else 8, channels, 3, padding=1),
            active(),
            nn.Conv2d(channels, channels * 2, 4, stride=2, padding=1),  # (N, 2 channels, 8, 8)
            active(),
            nn.Conv2d(channels * 2, channels * 4, 4, stride=2, padding=1),  # (N, 4 channels, 4, 4)
            active(),
            nn.Flatten(),
        )
        self.score = nn.Linear(channels * 64, 1)
        self.project: nn.Embedding | None = None
        if projection and label is not None:
            self.project = nn.Embedding(NUM_CLASSES, channels * 64)
            nn.init.zeros_(self.project.weight)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        if self.plane is not None:
            images = torch.cat([images, self.plane(labels)], dim=1)
        features = self.body(images)  # (N, 64 channels)
        scores = self.score(features).squeeze(1)
        if self.project is not None:
            scores = scores + (features * self.project(labels)).sum(dim=1)
        return scores


class Scorer(nn.Module):
    """The reference classifier: images in [0, 1] -> logits (N, 10); `features` gives (N, 128)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_normed(1, 16, 3),  # (N, 16, 32, 32)
            *_normed(16, 32, 4, stride=2),  # (N, 32, 16, 16)
            *_normed(32, 32, 3),
            *_normed(32, 64, 4, stride=2),  # (N, 64, 8, 8)
            *_normed(64, 64, 3),
            *_normed(64, 128, 4, stride=2),  # (N, 128, 4, 4)
            *_normed(128, 128, 3),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.head = nn.Linear(128, NUM_CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


class Probe(nn.Sequential):
    """The classifier that CAS trains: images in [0, 1] -> logits (N, 10). Small, for it is trained at each test."""

    def __init__(self) -> None:
        super().__init__(
            nn.PixelUnshuffle(2),  # (N, 4, 16, 16)
            *_normed(4, 16, 3),
            *_normed(16, 32, 4, stride=2),  # (N, 32, 8, 8)
            *_normed(32, 64, 4, stride=2),  # (N, 64, 4, 4)
            nn.Flatten(),
            nn.Linear(1024, NUM_CLASSES),
        )


def _normed(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    ]


def _check_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UserError(f"{key}={value}: choose one of {', '.join(choices)}.")
