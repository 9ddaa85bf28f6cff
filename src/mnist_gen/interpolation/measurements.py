"""Measures the images on many paths between digits, with the scorer and against real images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from mnist_gen.data import NUM_CLASSES
from mnist_gen.data.mnist import ImageSet, to_images
from mnist_gen.evaluation import fidelity
from mnist_gen.interpolation.paths import Interpolator, LabelledLatents

PARTS = 5  # of the paths; the spread of their FIDs tells a difference from noise
LEGIBLE = 0.9  # an image is legible from this probability of a digit
REAL = "real images"
SHORTEST = 1e-6  # shorter lengths are not divided by


class Reference:
    """Real images to compare with, and the real manifold: balls around features, each up to the k-th neighbour.

    Args:
        training: raw training images (M, 28, 28).
        features: the scorer's features (N, 128) of unseen images.
        neighbours: k.
    """

    def __init__(self, training: Tensor, features: Tensor, neighbours: int) -> None:
        self.training, self.features, self.neighbours = training, features, neighbours
        self.radii = fidelity.radii(features, neighbours)  # (N,)


@dataclass(frozen=True)
class PathMetrics:
    """Metrics of N paths in S steps.

    Attributes:
        by_image: metrics (S, N) of each image.
        by_path: metrics (N,) of each path.
        start_fid: FID of the first images.
        midpoint_fid: FID of the midpoints.
        midpoint_fids: FIDs of the midpoints of each fifth of the paths.
    """

    by_image: Mapping[str, Tensor]
    by_path: Mapping[str, Tensor]
    start_fid: float
    midpoint_fid: float
    midpoint_fids: Sequence[float]

    def ends(self, name: str) -> Tensor:
        """A metric's mean (N,) over both ends of each path."""
        return self.by_image[name][[0, -1]].mean(dim=0)

    def midpoint(self, name: str) -> Tensor:
        """A metric (N,) at the midpoint of each path."""
        return self.by_image[name][len(self.by_image[name]) // 2]

    def between(self, name: str) -> Tensor:
        """A metric's mean (N,) over each path without its ends."""
        return self.by_image[name][1:-1].mean(dim=0)


@torch.no_grad()
def measure_paths(
    scorer: fidelity.Scorer, paths: Tensor, first: Tensor, second: Tensor, reference: Reference
) -> PathMetrics:
    """Measures paths (S, N, 1, 32, 32) from digits (N,) to digits (N,).

    Each image: the scorer's highest probability (`confidence`) and its entropy in nats; whether it is `legible`, and
    as neither end's digit (`third_digit`); sharpness; the pixel distance to the `nearest` training image; whether it
    lies `inside` the real manifold (Kynkäänniemi et al. 2019); density. Each path: its length over the distance of
    its end images (`detour`), and its longest step over its mean step (`jump`; 1 is perfectly smooth).
    """
    steps, count = paths.shape[:2]
    images = paths.flatten(0, 1)  # (S N, 1, 32, 32)
    features, digits = fidelity.features_and_digits(scorer, images)
    probabilities = scorer.head(features).softmax(dim=1)
    confidence = probabilities.max(dim=1).values
    balls = fidelity.balls_around(features, reference.features, reference.radii)
    sure = confidence >= LEGIBLE
    by_image = {
        "confidence": confidence,
        "entropy": -(probabilities * probabilities.clamp_min(1e-12).log()).sum(dim=1),
        "legible": sure.float(),
        "third_digit": (sure & (digits != first.repeat(steps)) & (digits != second.repeat(steps))).float(),
        "sharpness": fidelity.sharpness(images),
        "nearest": fidelity.nearest_distance(images, reference.training),
        "inside": (balls > 0).float(),
        "density": balls / reference.neighbours,
    }
    lengths = (paths[1:] - paths[:-1]).flatten(2).norm(dim=2)  # (S - 1, N)
    by_path = {
        "detour": lengths.sum(dim=0) / (paths[-1] - paths[0]).flatten(1).norm(dim=1).clamp_min(SHORTEST),
        "jump": lengths.max(dim=0).values / lengths.mean(dim=0).clamp_min(SHORTEST),
    }
    by_step = features.unflatten(0, (steps, count))  # (S, N, 128)
    midpoint = by_step[steps // 2]
    return PathMetrics(
        {name: values.unflatten(0, (steps, count)) for name, values in by_image.items()},
        by_path,
        fidelity.fid(by_step[0], reference.features),
        fidelity.fid(midpoint, reference.features),
        [fidelity.fid(part, reference.features) for part in midpoint.tensor_split(PARTS)],
    )


def legible(scorer: fidelity.Scorer, images: Tensor) -> Tensor:
    """Whether the scorer is sure of a digit, (N,), in images (N, 1, 32, 32)."""
    features, _ = fidelity.features_and_digits(scorer, images)
    return scorer.head(features).softmax(dim=1).max(dim=1).values >= LEGIBLE


def separability(latents: Tensor, digits: Tensor, neighbours: int, seed: int) -> dict[str, Tensor]:
    """Hits (N / 5,) of nearest neighbours and of a linear probe on a random fifth of latents (N, D) of digits (N,).

    Both are fitted to the other latents, standardized.
    """
    order = torch.randperm(len(latents), generator=torch.Generator().manual_seed(seed))
    inputs, targets = StandardScaler().fit_transform(latents.cpu()[order].numpy()), digits.cpu()[order].numpy()
    split = len(inputs) * 4 // 5
    classifiers = {"knn": KNeighborsClassifier(neighbours), "linear": LogisticRegression(max_iter=1000)}
    return {
        name: torch.from_numpy(
            classifier.fit(inputs[:split], targets[:split]).predict(inputs[split:]) == targets[split:]
        )
        for name, classifier in classifiers.items()
    }


@dataclass(frozen=True)
class Settings:
    """The arguments of `Interpolation`."""

    pairs: int
    steps: int
    digits: Sequence[tuple[int, int]]
    neighbours: int
    seed: int


@dataclass(frozen=True)
class Measurements:
    """Measurements of all interpolators and of their models.

    Attributes:
        paths: metrics by interpolator.
        legible_midpoints: whether midpoints (N,) between two given digits are legible, by interpolator and digits.
        floor: real-data floor: FID of as many training images as there are paths, sharpness of unseen images.
        separability: hits (N,) of `separability`, by model and classifier.
        novelty: pixel distances (N,) of legible images to the nearest training image, by model and for unseen images.
        diversity: of the models' images, by digit, over that of real images.
    """

    paths: Mapping[str, PathMetrics]
    legible_midpoints: Mapping[str, Mapping[tuple[int, int], Tensor]]
    floor: Mapping[str, float]
    separability: Mapping[str, Mapping[str, Tensor]]
    novelty: Mapping[str, Tensor]
    diversity: Mapping[str, float]


@torch.no_grad()
def measure(
    interpolators: Mapping[str, Interpolator],
    models: Mapping[str, LabelledLatents],
    scorer: fidelity.Scorer,
    unseen: ImageSet,
    training: ImageSet,
    settings: Settings,
) -> Measurements:
    """Measures every interpolator on the same pairs of digits, and compares the models' latents and images.

    Args:
        interpolators: by name.
        models: latents by name of the model.
        scorer: reads digits.
        unseen: real images that no model has seen.
        training: images that the models were trained on.
        settings: the paths to measure.
    """
    random, device = torch.Generator().manual_seed(settings.seed), training.images.device
    real = to_images(unseen.images)
    reference = Reference(training.images, fidelity.features_and_digits(scorer, real)[0], settings.neighbours)
    first = torch.randint(NUM_CLASSES, (settings.pairs,), generator=random)
    second = (first + torch.randint(1, NUM_CLASSES, (settings.pairs,), generator=random)) % NUM_CLASSES
    paths = {}
    for name, interpolator in interpolators.items():
        images = interpolator.interpolate(first, second, settings.steps, settings.seed)
        paths[name] = measure_paths(scorer, images, first.to(device), second.to(device), reference)
    features, _ = fidelity.features_and_digits(scorer, to_images(training.drawn(settings.pairs, random).images))
    return Measurements(
        paths,
        {
            name: {pair: _legible_midpoints(interpolator, scorer, pair, settings) for pair in settings.digits}
            for name, interpolator in interpolators.items()
        },
        {"FID": fidelity.fid(features, reference.features), "sharpness": fidelity.sharpness(real).mean().item()},
        {
            name: separability(known.latents, known.digits, settings.neighbours, settings.seed)
            for name, known in models.items()
        },
        _novelty(models, scorer, real, training, settings.pairs),
        {
            name: fidelity.diversity(known.images, known.digits, real, unseen.labels)["diversity"]
            for name, known in models.items()
        },
    )


def _legible_midpoints(
    interpolator: Interpolator, scorer: fidelity.Scorer, pair: tuple[int, int], settings: Settings
) -> Tensor:
    first, second = (torch.full((settings.pairs,), digit) for digit in pair)
    return legible(scorer, interpolator.interpolate(first, second, 3, settings.seed)[1])


def _novelty(
    models: Mapping[str, LabelledLatents], scorer: fidelity.Scorer, real: Tensor, training: ImageSet, count: int
) -> dict[str, Tensor]:
    """Illegible images are trivially novel, so they are excluded, and so is a model without legible images."""
    images = {**{name: known.images for name, known in models.items()}, REAL: real}
    read = {name: shown[:count][legible(scorer, shown[:count])] for name, shown in images.items()}
    return {name: fidelity.nearest_distance(shown, training.images) for name, shown in read.items() if len(shown)}
