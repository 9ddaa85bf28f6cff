"""Clusters of similar images, found without labels."""

import logging
import math

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from mnist_gen.data import NUM_CLASSES
from mnist_gen.data.mnist import chunks
from mnist_gen.errors import UserError
from mnist_gen.gan.protocols import HasStatistics, SpaceProtocol
from mnist_gen.networks.encoders import STATISTICS

log = logging.getLogger(__name__)

MINIMAL_AFFINITY = 1e-6  # between any two landmarks, so that the graph is connected


class Clusters(nn.Module):
    """The cluster numbers of the training images.

    k-means in a space finds many landmarks. The affinity of two landmarks is the number of images to which they are the
    two nearest (Martinetz & Schulten 1994). Spectral clustering of this graph joins landmarks, so a cluster can
    have any shape: ten clusters of a good autoencoder's latents are nearly the ten digits.

    Cluster numbers replace labels: the GAN need not discover the clusters itself and cannot drop one (Sage et al. 2018,
    who also cluster latents; Liu et al. 2020).
    """

    are_digits = False
    landmarks: Tensor
    groups: Tensor
    shares: Tensor
    numbers: Tensor

    def __init__(self, count: int, landmarks: int, space: SpaceProtocol) -> None:
        super().__init__()
        if landmarks < count:
            raise UserError(f"pseudo_labels.landmarks={landmarks}: must be at least pseudo_labels.count={count}.")
        self.count, self.space = count, space
        self.register_buffer("landmarks", torch.zeros(landmarks, math.prod(space.shape)))
        self.register_buffer("groups", torch.zeros(landmarks, dtype=torch.long))  # the cluster of each landmark
        self.register_buffer("shares", torch.full((count,), 1 / count))  # of the images in each cluster
        self.register_buffer("numbers", torch.empty(0, dtype=torch.long), persistent=False)  # of the training images

    @property
    def found(self) -> bool:
        return bool(self.landmarks.any())

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Assigns the images (N, 1, 32, 32) in [0, 1] to clusters; finds these first, unless they were restored."""
        if not self.found and isinstance(self.space, HasStatistics):
            self.space.fit(images[:STATISTICS])
        points = self._points(images)
        if not self.found:
            self._find(points)
        self.numbers = self._assigned(points)

    def _points(self, images: Tensor) -> Tensor:
        return torch.cat([self.space.enter(chunk).flatten(1) for chunk in chunks(images)])

    def _find(self, points: Tensor) -> None:
        """Finds the clusters of points (N, D), at least as many as landmarks."""
        count = len(self.landmarks)
        if len(points) < count:
            raise UserError(f"pseudo_labels.landmarks={count}: more than the {len(points)} training images.")
        from sklearn.cluster import MiniBatchKMeans, SpectralClustering  # here: other GANs need no scikit-learn

        log.info("Clustering %s images into %d clusters.", f"{len(points):,}", self.count)
        points = points.cpu().double()  # in double precision the order of parallel sums does not matter
        seed = torch.initial_seed() % 2**32
        kmeans = MiniBatchKMeans(count, batch_size=4096, n_init=1, random_state=seed)
        landmarks = torch.from_numpy(kmeans.fit(points.numpy()).cluster_centers_)
        distances = (torch.cdist(chunk, landmarks) for chunk in chunks(points))
        nearest = torch.cat([chunk.topk(2, largest=False).indices for chunk in distances])  # (N, 2)
        spectral = SpectralClustering(self.count, affinity="precomputed", random_state=seed)
        groups = torch.from_numpy(spectral.fit_predict(_affinities(nearest, count).numpy())).long()
        self.landmarks.copy_(landmarks)
        self.groups.copy_(groups)
        self.shares.copy_(groups[nearest[:, 0]].bincount(minlength=self.count) / len(points))

    def _assigned(self, points: Tensor) -> Tensor:
        nearest = [torch.cdist(chunk, self.landmarks).argmin(dim=1) for chunk in chunks(points)]
        return self.groups[torch.cat(nearest)]

    def forward(self, positions: Tensor) -> Tensor:
        return self.numbers[positions]

    @torch.no_grad()
    def assign(self, images: Tensor) -> Tensor:
        """The cluster numbers (N,) of images (N, 1, 32, 32) in [0, 1]."""
        return self._assigned(self._points(images))

    @torch.no_grad()
    def accuracy(self, images: Tensor, digits: Tensor) -> float:
        """The share of images in the cluster that stands for their digit (N,), with each cluster for one digit at most.

        The best such assignment counts (Kuhn 1955), as in Ji et al. 2019. The digits choose nothing else.
        """
        numbers = self.assign(images)
        counts = torch.zeros(self.count, NUM_CLASSES, dtype=torch.long, device=numbers.device)
        counts.index_put_((numbers, digits), torch.ones_like(digits), accumulate=True)
        assigned = linear_sum_assignment(counts.cpu().numpy(), maximize=True)
        return counts.cpu()[assigned].sum().item() / len(images)

    def draw(self, count: int, random: torch.Generator) -> Tensor:
        return torch.multinomial(self.shares.cpu(), count, replacement=True, generator=random)


def _affinities(nearest: Tensor, count: int) -> Tensor:
    """Affinities (count, count) of landmarks, from the numbers (N, 2) of each image's two nearest."""
    common = torch.full((count, count), MINIMAL_AFFINITY, dtype=torch.double)
    one, other = nearest.T
    return common.index_put_((one, other), common.new_ones(len(nearest)), accumulate=True) + common.T
