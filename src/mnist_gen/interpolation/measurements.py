"""What lies on walks between digits, judged by the scorer and against real images, over many pairs of digits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from mnist_gen.data.mnist import NUM_CLASSES, ImageSet, to_images
from mnist_gen.evaluation import fidelity
from mnist_gen.interpolation.paths import Known, Walker

PARTS = 5  # into which walks are divided, to see how far a figure of all of them can be trusted
LEGIBLE = 0.9  # probability from which the scorer is taken to be sure of a digit
REAL = "real images"
NOWHERE = 1e-6  # a way shorter than this has no length to compare with


@dataclass(frozen=True)
class Reference:
    """Real images to judge against: raw training images (M, 28, 28), and others' features in the scorer (N, 128).

    The real manifold is made up of balls that reach each one's k-th neighbour, of which k says how many.
    """

    training: Tensor
    features: Tensor
    neighbours: int

    @cached_property
    def radii(self) -> Tensor:
        """Of the balls, (N,)."""
        return fidelity.radii(self.features, self.neighbours)


@dataclass(frozen=True)
class Judgement:
    """Figures of N walks in S steps: (S, N) of images `along` the way, (N,) of each way, FID of starts and middles.

    That of the middles also of each fifth of the walks, by which one can tell a difference from noise.
    """

    along: Mapping[str, Tensor]
    ways: Mapping[str, Tensor]
    start_fid: float
    midpoint_fid: float
    midpoint_fids: Sequence[float]

    def ends(self, name: str) -> Tensor:
        """A figure's mean (N,) over both ends of each way."""
        return self.along[name][[0, -1]].mean(dim=0)

    def middle(self, name: str) -> Tensor:
        """A figure (N,) in the middle of each way."""
        return self.along[name][len(self.along[name]) // 2]

    def whole(self, name: str) -> Tensor:
        """A figure's mean (N,) over all of each way."""
        return self.along[name].mean(dim=0)

    def between(self, name: str) -> Tensor:
        """A figure's mean (N,) over all of each way but its ends."""
        return self.along[name][1:-1].mean(dim=0)


@torch.no_grad()
def judge(scorer: fidelity.Scorer, walks: Tensor, first: Tensor, second: Tensor, reference: Reference) -> Judgement:
    """Judges walks (S, N, 1, 32, 32) from digits (N,) to digits (N,).

    Along the way: the scorer's highest probability and its entropy in nats; whether it is sure of a digit (`legible`),
    and of one that is neither end's (`third_digit`); sharpness; the pixel distance to the nearest training image;
    whether the image lies inside the real manifold (Kynkäänniemi et al. 2019), and density. Of each way: how much
    longer it is than the straight line between its ends' images (`detour`), and its longest step than its mean one
    (`jump`; 1 is perfectly smooth).
    """
    steps, count = walks.shape[:2]
    images = walks.flatten(0, 1)
    features, digits = fidelity.read(scorer, images)
    chances = scorer.head(features).softmax(dim=1)
    top = chances.max(dim=1).values
    balls = fidelity.balls_around(features, reference.features, reference.radii)
    sure = top >= LEGIBLE
    along = {
        "confidence": top,
        "entropy": -(chances * chances.clamp_min(1e-12).log()).sum(dim=1),
        "legible": sure.float(),
        "third_digit": (sure & (digits != first.repeat(steps)) & (digits != second.repeat(steps))).float(),
        "sharpness": fidelity.sharpness(images),
        "nearest": fidelity.nearest_distance(images, reference.training),
        "inside": (balls > 0).float(),
        "density": balls / reference.neighbours,
    }
    lengths = (walks[1:] - walks[:-1]).flatten(2).norm(dim=2)  # (S - 1, N)
    ways = {
        "detour": lengths.sum(dim=0) / (walks[-1] - walks[0]).flatten(1).norm(dim=1).clamp_min(NOWHERE),
        "jump": lengths.max(dim=0).values / lengths.mean(dim=0).clamp_min(NOWHERE),
    }
    by_step = features.unflatten(0, (steps, count))
    start, middle = by_step[0], by_step[steps // 2]
    return Judgement(
        {name: value.unflatten(0, (steps, count)) for name, value in along.items()},
        ways,
        fidelity.fid(start, reference.features),
        fidelity.fid(middle, reference.features),
        [fidelity.fid(part, reference.features) for part in middle.tensor_split(PARTS)],
    )


def legible(scorer: fidelity.Scorer, images: Tensor) -> Tensor:
    """Whether the scorer is sure of a digit in each of images (N, 1, 32, 32), (N,)."""
    features, _ = fidelity.read(scorer, images)
    return scorer.head(features).softmax(dim=1).max(dim=1).values >= LEGIBLE


def separability(points: Tensor, digits: Tensor, neighbours: int, seed: int) -> dict[str, Tensor]:
    """How well points (N, D) tell their digits (N,): hits on a random fifth of them after learning from the others.

    By the nearest neighbours, and by a linear probe, both of scikit-learn, on standardised points.
    """
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))
    values, known = StandardScaler().fit_transform(points.cpu()[order].numpy()), digits.cpu()[order].numpy()
    split = len(values) * 4 // 5
    readers = {"knn": KNeighborsClassifier(neighbours), "linear": LogisticRegression(max_iter=1000)}
    return {
        name: torch.from_numpy(reader.fit(values[:split], known[:split]).predict(values[split:]) == known[split:])
        for name, reader in readers.items()
    }


@dataclass(frozen=True)
class Plan:
    """Which walks are taken, and how they are judged.

    Attributes:
        pairs: of different digits at random, and as many for each of `digits`.
        steps: images on a way, both ends included.
        digits: pairs of digits.
        neighbours: k of density, of the real manifold, and of the nearest neighbours that tell a point's digit.
        seed: of all choices.
    """

    pairs: int
    steps: int
    digits: Sequence[tuple[int, int]]
    neighbours: int
    seed: int


@dataclass(frozen=True)
class Findings:
    """What was measured of some models.

    Attributes:
        walks: by the name of their space.
        chosen: whether the middles (N,) of ways between two given digits are legible, by space and digits.
        floor: the same of real images: FID of as many training images as there are walks, sharpness of unseen ones.
        separated: hits (N,) of `separability` by model and reader.
        novelty: pixel distances (N,) to the nearest training image, from legible images of the autoencoder, of the GAN,
            and from real ones that no model has seen.
        diversity: of the images of the autoencoder and of the GAN, by digit, over that of real ones.
    """

    walks: Mapping[str, Judgement]
    chosen: Mapping[str, Mapping[tuple[int, int], Tensor]]
    floor: Mapping[str, float]
    separated: Mapping[str, Mapping[str, Tensor]]
    novelty: Mapping[str, Tensor]
    diversity: Mapping[str, float]


@torch.no_grad()
def measure(
    found: Mapping[str, Walker],
    known: Mapping[str, Known],
    scorer: fidelity.Scorer,
    real: ImageSet,
    training: ImageSet,
    plan: Plan,
) -> Findings:
    """Walks between the same pairs of different digits in each space, and compares the spaces' known points.

    Args:
        found: who walks, by the names of their spaces.
        known: points of models by name.
        scorer: reads digits.
        real: images to judge against, which no model has seen.
        training: images that models were trained on.
        plan: which walks.
    """
    random, device = torch.Generator().manual_seed(plan.seed), training.images.device
    reference = Reference(training.images, fidelity.read(scorer, to_images(real.images))[0], plan.neighbours)
    first = torch.randint(NUM_CLASSES, (plan.pairs,), generator=random)
    second = (first + torch.randint(1, NUM_CLASSES, (plan.pairs,), generator=random)) % NUM_CLASSES
    walks = {
        name: judge(
            scorer, walker.walk(first, second, plan.steps, plan.seed), first.to(device), second.to(device), reference
        )
        for name, walker in found.items()
    }
    features, _ = fidelity.read(scorer, to_images(training.drawn(plan.pairs, random).images))
    return Findings(
        walks,
        {name: {pair: _middles(walker, scorer, pair, plan) for pair in plan.digits} for name, walker in found.items()},
        {
            "FID": fidelity.fid(features, reference.features),
            "sharpness": fidelity.sharpness(to_images(real.images)).mean().item(),
        },
        {
            name: separability(points.points, points.digits, plan.neighbours, plan.seed)
            for name, points in known.items()
        },
        _novelty(known, scorer, real, training, plan.pairs),
        {
            name: fidelity.diversity(points.images, points.digits, to_images(real.images), real.labels)["diversity"]
            for name, points in known.items()
        },
    )


def _middles(walker: Walker, scorer: fidelity.Scorer, pair: tuple[int, int], plan: Plan) -> Tensor:
    first, second = (torch.full((plan.pairs,), digit) for digit in pair)
    return legible(scorer, walker.walk(first, second, 3, plan.seed)[1])


def _novelty(
    known: Mapping[str, Known], scorer: fidelity.Scorer, real: ImageSet, training: ImageSet, count: int
) -> dict[str, Tensor]:
    """What is no digit is new as well: it does not count. A model that makes none is left out."""
    shown = {name: points.images[:count] for name, points in known.items()} | {REAL: to_images(real.images[:count])}
    read = {name: images[legible(scorer, images)] for name, images in shown.items()}
    return {name: fidelity.nearest_distance(images, training.images) for name, images in read.items() if len(images)}
