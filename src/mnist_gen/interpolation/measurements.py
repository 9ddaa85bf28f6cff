"""Metrics of images on many paths between digits, and of the latents and images of a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from mnist_gen.evaluation import fidelity

PARTS = 5  # of the paths; the spread of their FIDs tells a difference from noise
LEGIBLE = 0.9  # an image is legible from this probability of a digit
SHORTEST = 1e-6  # shorter lengths are not divided by


@dataclass(frozen=True)
class Reference:
    """Real images to compare with, and the real manifold: balls around features, each up to the k-th neighbour."""

    training: Tensor  # raw training images (M, 28, 28)
    features: Tensor  # the scorer's, of unseen images, (N, 128)
    neighbours: int  # k

    @cached_property
    def radii(self) -> Tensor:  # (N,)
        return fidelity.radii(self.features, self.neighbours)


@dataclass(frozen=True)
class PathMetrics:
    """Metrics of N paths in S steps."""

    by_image: Mapping[str, Tensor]  # (S, N) each
    by_path: Mapping[str, Tensor]  # (N,) each
    start_fid: float  # of the first images
    midpoint_fid: float
    midpoint_fids: Sequence[float]  # of each fifth of the paths

    def ends(self, name: str) -> Tensor:
        """A metric's mean (N,) over both ends of each path."""
        return self.by_image[name][[0, -1]].mean(dim=0)

    def midpoint(self, name: str) -> Tensor:
        """A metric (N,) at the midpoint of each path."""
        return self.by_image[name][len(self.by_image[name]) // 2]

    def between(self, name: str) -> Tensor:
        """A metric's mean (N,) over each path without its ends."""
        return self.by_image[name][1:-1].mean(dim=0)

    def means(self) -> fidelity.Metrics:
        """Means over all paths, as metrics.json names them."""
        values = {f"{name}_ends": self.ends(name) for name in self.by_image}
        values |= {f"{name}_middle": self.midpoint(name) for name in self.by_image}
        means = {name: value.mean().item() for name, value in {**values, **self.by_path}.items()}
        return {"start_fid": self.start_fid, "midpoint_fid": self.midpoint_fid, **means}


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
    steps, images = len(paths), paths.flatten(0, 1)  # (S N, 1, 32, 32)
    features, digits = fidelity.features_and_digits(scorer, images)
    probabilities = scorer.head(features).softmax(dim=1)
    confidence = probabilities.max(dim=1).values
    sure = confidence >= LEGIBLE
    other = (digits != first.to(digits.device).repeat(steps)) & (digits != second.to(digits.device).repeat(steps))
    balls = fidelity.balls_around(features, reference.features, reference.radii)
    by_image = {
        "confidence": confidence,
        "entropy": -(probabilities * probabilities.clamp_min(1e-12).log()).sum(dim=1),
        "legible": sure.float(),
        "third_digit": (sure & other).float(),
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
    by_step = features.unflatten(0, (steps, -1))  # (S, N, 128)
    midpoint = by_step[steps // 2]
    return PathMetrics(
        {name: values.unflatten(0, (steps, -1)) for name, values in by_image.items()},
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
    """Hits (N / 5,) of two probes on a random fifth of latents (N, D) of digits (N,), fitted to the other fifths."""
    order = torch.randperm(len(latents), generator=torch.Generator().manual_seed(seed))
    inputs, targets = StandardScaler().fit_transform(latents.cpu()[order].numpy()), digits.cpu()[order].numpy()
    split = len(inputs) * 4 // 5
    hits = {}
    for name, probe in {"knn": KNeighborsClassifier(neighbours), "linear": LogisticRegression(max_iter=1000)}.items():
        probe.fit(inputs[:split], targets[:split])
        hits[name] = torch.from_numpy(probe.predict(inputs[split:]) == targets[split:])
    return hits
