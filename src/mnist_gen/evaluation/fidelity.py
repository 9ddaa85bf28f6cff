"""How good generated images are: functions of images (N, 1, 32, 32) in [0, 1] and of features (N, D).

FID, density and coverage use the features (N, 128) of the *scorer*, a fixed reference classifier, so they cannot be
compared with values in Inception features. The *real-data floor* is the same metric of real training images.
`metrics.py` declares which functions are measured when.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torchmetrics.image import StructuralSimilarityIndexMeasure
from torchmetrics.image.fid import FrechetInceptionDistance

from mnist_gen.data import NUM_CLASSES
from mnist_gen.data.mnist import chunks, to_images
from mnist_gen.errors import UserError
from mnist_gen.networks.classifiers import Scorer
from mnist_gen.networks.encoders import WideEncoder
from mnist_gen.system.screen import counted
from mnist_gen.training.capture import replay_on

CHUNK = 1000  # rows of a distance matrix held at once, or images for the most expensive metrics
NEIGHBOURS = 5  # k of density and coverage
DARK = 1e-6  # images with a smaller sum of squared pixels are black

Metrics = dict[str, float]


@torch.no_grad()
def features_and_digits(scorer: Scorer, images: Tensor) -> tuple[Tensor, Tensor]:
    """The scorer's features (N, 128) and predicted digits (N,) of images."""
    features = torch.cat([scorer.features(chunk) for chunk in chunks(images)])
    return features, scorer.head(features).argmax(dim=1)


def class_accuracy(digits: Tensor, labels: Tensor) -> Metrics:
    """Share of images classified as the requested digit: overall, of the worst digit, and of each digit."""
    right = (digits == labels).float()
    by_digit = {c: right[labels == c].mean().item() for c in labels.unique().tolist()}
    return {
        "class_accuracy": right.mean().item(),
        "worst_class": min(by_digit.values()),
        **{f"class_accuracy_{c}": share for c, share in by_digit.items()},
    }


def digit_shares(digits: Tensor) -> Metrics:
    """Shares of the rarest and the commonest predicted digit, for images without a requested digit."""
    shares = torch.bincount(digits, minlength=NUM_CLASSES) / len(digits)
    return {"rarest_digit": shares.min().item(), "commonest_digit": shares.max().item()}


def fid(fake: Tensor, real: Tensor) -> float:
    """Fréchet distance between two sets of features (N, D) (Heusel et al. 2017)."""
    network = nn.Identity()  # torchmetrics expects images
    network.num_features = torch.tensor(real.shape[1])
    metric = FrechetInceptionDistance(feature=network).to(real.device)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    return metric.compute().item()


def density_and_coverage(fake: Tensor, real: Tensor) -> Metrics:
    """Density and coverage of generated features (N, D) (Naeem et al. 2020).

    Each real image has a ball that reaches its k-th nearest real neighbour. Density is the mean number of balls around
    a sample, divided by k. Coverage is the share of balls that contain a sample.
    """
    inside, covered = 0, 0
    for within in _within_balls(fake, real, radii(real, NEIGHBOURS)):
        inside += int(within.sum())
        covered += int(within.any(dim=1).sum())
    return {"density": inside / (NEIGHBOURS * len(fake)), "coverage": covered / len(real)}


def balls_around(fake: Tensor, real: Tensor, radius: Tensor) -> Tensor:
    """The number (N,) of balls with radii (M,) around real features (M, D) that contain each sample (N, D)."""
    return torch.stack([within.sum(dim=0) for within in _within_balls(fake, real, radius)]).sum(dim=0)


def radii(real: Tensor, neighbours: int) -> Tensor:
    """The distance (N,) of each real feature (N, D) to its k-th nearest neighbour, itself not counted."""
    if len(real) <= neighbours:
        raise UserError(f"density and coverage with {neighbours} neighbours need more than {len(real)} real images.")
    nearest = [torch.cdist(chunk, real).kthvalue(neighbours + 1, dim=1).values for chunk in real.split(CHUNK)]
    return torch.cat(nearest)


def _within_balls(fake: Tensor, real: Tensor, radius: Tensor) -> Iterator[Tensor]:
    """For chunks of real features: whether their balls contain each sample, (chunk, N)."""
    for chunk, reach in zip(real.split(CHUNK), radius.split(CHUNK), strict=True):
        yield torch.cdist(chunk, fake) <= reach[:, None]


def diversity(images: Tensor, labels: Tensor, real_images: Tensor, real_labels: Tensor) -> Metrics:
    """Mean pixel distance between samples of a digit, relative to real images of it: the mean and the worst digit.

    1 is the diversity of real images; 0 means that all samples of a digit are one picture. Digits with fewer than two
    samples are left out.
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
    """Sharpness (N,) of images (N, 1, H, W): squared differences of neighbouring pixels, relative to squared pixels.

    Blurred or broad strokes lower it; noise raises it.
    """
    steps = (images.diff(dim=2), images.diff(dim=3))
    steep = torch.stack([step.square().sum(dim=(1, 2, 3)) for step in steps]).sum(dim=0)
    return steep / images.square().sum(dim=(1, 2, 3)).clamp_min(DARK)


def nearest_distance(images: Tensor, training: Tensor) -> Tensor:
    """Pixel distance (N,) of each image to the nearest raw training image (M, 28, 28) uint8."""
    nearest = torch.full((len(images),), torch.inf, device=images.device)
    for chunk in training.split(10 * CHUNK):
        known = to_images(chunk).flatten(1)
        distances = [torch.cdist(some.flatten(1), known).min(dim=1).values for some in images.split(CHUNK)]
        nearest = torch.minimum(nearest, torch.cat(distances))
    return nearest


def memorisation_limit(held_out: Tensor, training: Tensor) -> float:
    """The distance to the nearest training image that 99 % of the first 2,000 held-out real images exceed."""
    return nearest_distance(held_out[: 2 * CHUNK], training).quantile(0.01).item()


def memorised(images: Tensor, training: Tensor, limit: float) -> float:
    """Share of the first 1,000 images closer to a training image than the limit; 0.01 for unseen real images."""
    return (nearest_distance(images[:CHUNK], training) < limit).float().mean().item()


def cas(
    images: Tensor,
    labels: Tensor,
    test_images: Tensor,
    test_labels: Tensor,
    epochs: int = 3,
    renew: Callable[[int], tuple[Tensor, Tensor]] | None = None,
) -> float:
    """Classification accuracy score (Ravuri & Vinyals 2019): test accuracy of a classifier trained on samples alone.

    Pass as many samples as there are training images. `renew(epoch)` makes as many new ones for each further epoch; the
    first is 0. Without it they stay the same. The classifier, its budget and its seed are fixed, so that scores are
    comparable.
    """
    with torch.random.fork_rng(devices=[images.device] if images.is_cuda else []):
        torch.manual_seed(0)
        probe = WideEncoder(NUM_CLASSES, channels=16)  # as a classifier: small, because every test trains one
        probe.to(images.device).to(memory_format=torch.channels_last)
    random = torch.Generator().manual_seed(0)
    orders = [torch.randperm(len(images), generator=random).to(images.device) for _ in range(epochs)]
    batches = [(epoch, chosen) for epoch, order in enumerate(orders) for chosen in order.split(100)]
    optimizer = torch.optim.Adam(probe.parameters(), fused=True)
    schedule = OneCycleLR(optimizer, max_lr=4e-3, total_steps=len(batches), cycle_momentum=False)
    replay = replay_on(images.device, [optimizer])

    def learn(some: Tensor, digits: Tensor) -> None:
        loss = F.cross_entropy(probe(some), digits)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    seen = 0  # the epoch of the samples
    with torch.enable_grad():
        for epoch, chosen in counted(batches, "CAS", "batch"):
            if renew is not None and epoch != seen:
                images, labels = renew(epoch)
                seen = epoch
            batch = images[chosen], labels[chosen]
            replay(partial(learn, *batch), batch)
            schedule.step()
    probe.eval()
    with torch.no_grad():
        digits = torch.cat([probe(chunk).argmax(dim=1) for chunk in chunks(test_images)])
    return (digits == test_labels).float().mean().item()


def correspondence(digits: Tensor, labels: Tensor, outputs: Tensor, targets: Tensor) -> Metrics:
    """How well translations `outputs` (N, 1, 32, 32) correspond to their inputs and to the true counterparts `targets`.

    That is the share of translations with the input's digit, by the scorer's `digits` (N,) and the inputs' `labels`
    (N,); mean absolute difference and SSIM (Wang et al. 2004) to the counterpart; and the share of the first 1,000 that
    are nearest to their own counterpart.
    """
    metric = StructuralSimilarityIndexMeasure(data_range=1.0).to(outputs.device)
    for chunk, counterparts in zip(outputs.split(CHUNK), targets.split(CHUNK), strict=True):
        metric.update(chunk, counterparts)
    similarity = metric.compute()
    assert isinstance(similarity, Tensor)  # an option would add the contrast
    few, known = outputs[:CHUNK].flatten(1), targets[:CHUNK].flatten(1)
    found = torch.cdist(few, known).argmin(dim=1) == torch.arange(len(few), device=few.device)
    return {
        "correspondence": (digits == labels).float().mean().item(),
        "l1": (outputs - targets).abs().mean().item(),
        "ssim": similarity.item(),
        "retrieval": found.float().mean().item(),
    }
