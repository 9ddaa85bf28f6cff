"""How good is a generator? Everything is measured on images in [0, 1], (N, 1, 32, 32), and returned as plain numbers.

The *scorer*, a fixed reference classifier, reads the digits and gives the features (N, 128) in which FID, density
and coverage are taken; they cannot be compared with figures in Inception features. The *floor* is the same
judgement of real training images in place of the samples.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.image import StructuralSimilarityIndexMeasure
from torchmetrics.image.fid import FrechetInceptionDistance

from mnist_gen.data.mnist import NUM_CLASSES, to_images
from mnist_gen.errors import UserError
from mnist_gen.networks.classifiers import Probe, Scorer

CHUNK = 1000  # rows of a distance matrix, or images of the most expensive measures, held at once
SMALL_CHUNK = 250  # images that pass a network at once: on two CPU cores 1.7 times as fast as a thousand
NEIGHBOURS = 5  # k of density and coverage
DARK = 1e-6  # sum of squared pixels up to which an image is black

Metrics = dict[str, float]


@dataclass(frozen=True)
class Sample:
    """Images to judge, (N, 1, 32, 32) in [0, 1], and the labels (N,) they were asked for; None if they were not."""

    images: Tensor
    labels: Tensor | None


@torch.no_grad()
def read(scorer: Scorer, images: Tensor) -> tuple[Tensor, Tensor]:
    """The scorer's features (N, 128) of the images and the digits (N,) it reads in them."""
    features = torch.cat([scorer.features(chunk) for chunk in images.split(SMALL_CHUNK)])
    return features, scorer.head(features).argmax(dim=1)


def class_accuracy(digits: Tensor, labels: Tensor) -> Metrics:
    """Share of images read as the digit they were asked for: over all, the worst digit's, and each digit's."""
    right = (digits == labels).float()
    by_digit = {c: right[labels == c].mean().item() for c in labels.unique().tolist()}
    return {
        "class_accuracy": right.mean().item(),
        "worst_class": min(by_digit.values()),
        **{f"class_accuracy_{c}": share for c, share in by_digit.items()},
    }


def digit_shares(digits: Tensor) -> Metrics:
    """How evenly the digits are read in images nobody asked a digit of: the rarest and the commonest share."""
    shares = torch.bincount(digits, minlength=NUM_CLASSES) / len(digits)
    return {"rarest_digit": shares.min().item(), "commonest_digit": shares.max().item()}


class _Features(nn.Identity):
    """Lets torchmetrics take features in place of images."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def fid(fake: Tensor, real: Tensor) -> float:
    """Fréchet distance between two sets of features (N, D) (Heusel et al. 2017)."""
    metric = FrechetInceptionDistance(feature=_Features(real.shape[1])).to(real.device)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    return metric.compute().item()


def density_and_coverage(fake: Tensor, real: Tensor, neighbours: int = NEIGHBOURS) -> Metrics:
    """Density and coverage of features (N, D) against real ones (Naeem et al. 2020).

    Each real point has a ball that reaches its k-th nearest real neighbour. Density: how many balls a sample lies
    in, over k. Coverage: the share of balls with a sample inside.
    """
    inside, covered = 0, 0
    for within in _within_balls(fake, real, radii(real, neighbours)):
        inside += int(within.sum())
        covered += int(within.any(dim=1).sum())
    return {"density": inside / (neighbours * len(fake)), "coverage": covered / len(real)}


def balls_around(fake: Tensor, real: Tensor, radius: Tensor) -> Tensor:
    """In how many of the balls of these radii (M,) about real features (M, D) each sample (N, D) lies, (N,)."""
    return torch.stack([within.sum(dim=0) for within in _within_balls(fake, real, radius)]).sum(dim=0)


def radii(real: Tensor, neighbours: int = NEIGHBOURS) -> Tensor:
    """The distance (N,) from each of real features (N, D) to its k-th nearest neighbour among them."""
    if len(real) <= neighbours:
        raise UserError(f"density and coverage with {neighbours} neighbours need more than {len(real)} real images.")
    nearest = (torch.cdist(chunk, real).kthvalue(neighbours + 1, dim=1).values for chunk in real.split(CHUNK))
    return torch.cat(list(nearest))  # + 1: the point itself


def _within_balls(fake: Tensor, real: Tensor, radius: Tensor) -> Iterator[Tensor]:
    """(chunk of real, N): whether a sample lies in a real point's ball."""
    for chunk, reach in zip(real.split(CHUNK), radius.split(CHUNK), strict=True):
        yield torch.cdist(chunk, fake) <= reach[:, None]


def diversity(images: Tensor, labels: Tensor, real_images: Tensor, real_labels: Tensor) -> Metrics:
    """Mean pixel distance between two samples of a digit, over that between two real images of it.

    1 is the variety of real images; 0 says that all samples of a digit are the same picture. Digits with fewer than
    two samples are left out.
    """
    ratios = [
        _mean_distance(images[labels == digit]) / _mean_distance(real_images[real_labels == digit])
        for digit, count in enumerate(torch.bincount(labels, minlength=NUM_CLASSES).tolist())
        if count > 1
    ]
    return {"diversity": sum(ratios) / len(ratios), "worst_diversity": min(ratios)} if ratios else {}


def _mean_distance(images: Tensor) -> float:
    return torch.pdist(images[:CHUNK].flatten(1)).mean().item()


def sharpness(images: Tensor) -> Tensor:
    """How steep images (N, 1, H, W) are, (N,): squares of steps from pixel to pixel, over squares of pixels.

    A blurred stroke has less of it; so has a broad one, and noise has more.
    """
    steps = (images.diff(dim=2), images.diff(dim=3))
    steep = torch.stack([step.square().sum(dim=(1, 2, 3)) for step in steps]).sum(dim=0)
    return steep / images.square().sum(dim=(1, 2, 3)).clamp_min(DARK)


def nearest_distance(images: Tensor, training: Tensor) -> Tensor:
    """Pixel distance (N,) from each image to the nearest raw training image (M, 28, 28) uint8."""
    nearest = torch.full((len(images),), torch.inf, device=images.device)
    for chunk in training.split(10 * CHUNK):
        known = to_images(chunk).flatten(1)
        distances = [torch.cdist(some.flatten(1), known).min(dim=1).values for some in images.split(CHUNK)]
        nearest = torch.minimum(nearest, torch.cat(distances))
    return nearest


def memorisation_limit(held_out: Tensor, training: Tensor) -> float:
    """The distance to the nearest training image that 99 % of held-out real images exceed; 2,000 are looked at."""
    return nearest_distance(held_out[: 2 * CHUNK], training).quantile(0.01).item()


def memorised(images: Tensor, training: Tensor, limit: float) -> float:
    """Share of images closer to a training image than the limit; 0.01 is innocent. A thousand are looked at."""
    return (nearest_distance(images[:CHUNK], training) < limit).float().mean().item()


def cas(images: Tensor, labels: Tensor, test_images: Tensor, test_labels: Tensor, epochs: int = 3) -> float:
    """Classification accuracy score: the real test accuracy of a classifier trained on samples alone.

    Ravuri & Vinyals 2019, who take as many samples as there are training images. The classifier, its budget and its
    seed are fixed, so that two samples can be compared.
    """
    with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
        torch.manual_seed(0)
        probe = Probe().to(images.device).to(memory_format=torch.channels_last)
    order = torch.Generator().manual_seed(0)
    batches = [chosen for _ in range(epochs) for chosen in torch.randperm(len(images), generator=order).split(100)]
    optimizer = torch.optim.Adam(probe.parameters(), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=len(batches))
    with torch.enable_grad():
        for chosen in batches:
            loss = F.cross_entropy(probe(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    probe.eval()
    with torch.no_grad():
        digits = torch.cat([probe(chunk).argmax(dim=1) for chunk in test_images.split(SMALL_CHUNK)])
    return (digits == test_labels).float().mean().item()


def correspondence(digits: Tensor, labels: Tensor, made: Tensor, wanted: Tensor) -> Metrics:
    """How much translations (N, 1, 32, 32) are their inputs' counterparts, whatever they look like.

    Args:
        digits: as read in the translations, (N,), by a scorer of the class that is translated into.
        labels: of the inputs, (N,).
        made: translations.
        wanted: the true counterparts, in the same order.

    Returns:
        The share in which the input's digit is read; the mean absolute difference and SSIM (Wang et al. 2004) to the
        counterpart; and how many of a thousand are nearer to their own counterpart than to any other.
    """
    metric = StructuralSimilarityIndexMeasure(data_range=1.0).to(made.device)
    for chunk, counterparts in zip(made.split(CHUNK), wanted.split(CHUNK), strict=True):
        metric.update(chunk, counterparts)
    similarity = metric.compute()
    assert isinstance(similarity, Tensor)  # not also the contrast, which is an option
    few, known = made[:CHUNK].flatten(1), wanted[:CHUNK].flatten(1)
    found = torch.cdist(few, known).argmin(dim=1) == torch.arange(len(few), device=few.device)
    return {
        "correspondence": (digits == labels).float().mean().item(),
        "l1": (made - wanted).abs().mean().item(),
        "ssim": similarity.item(),
        "retrieval": found.float().mean().item(),
    }


def glance(scorer: Scorer, sample: Sample, real: Tensor) -> Metrics:
    """The cheap judgement, against real features (N, 128): class accuracy, FID, density and coverage."""
    fake, digits = read(scorer, sample.images)
    matched = min(len(fake), len(real))  # density and coverage compare equal counts
    return {
        "fid": fid(fake, real),
        **density_and_coverage(fake[:matched], real[:matched]),
        **(digit_shares(digits) if sample.labels is None else class_accuracy(digits, sample.labels)),
    }


def judge(scorer: Scorer, sample: Sample, real: Tensor, test: Sample) -> Metrics:
    """The judgement at test: `glance`, sharpness over that of the test images, and of labelled samples diversity."""
    metrics = glance(scorer, sample, real)
    metrics["sharpness"] = (sharpness(sample.images).mean() / sharpness(test.images).mean()).item()
    if sample.labels is not None and test.labels is not None:
        metrics |= diversity(sample.images, sample.labels, test.images, test.labels)
    return metrics
