"""Groups of alike images, found without labels."""

import logging
import math

import torch
from sklearn.cluster import MiniBatchKMeans, SpectralClustering
from torch import Tensor, nn

from mnist_gen.data.mnist import CHUNK
from mnist_gen.errors import UserError
from mnist_gen.gan.spaces import Codes, Pixels
from mnist_gen.networks.encoders import STATISTICS

log = logging.getLogger(__name__)

APART = 1e-6  # that any two landmarks have in common, so that there is a way from each to each


class Clusters(nn.Module):
    """Images (N, 1, 32, 32) in [0, 1] -> the numbers (N,) of their groups.

    k-means finds many landmarks. Two are neighbours as often as they are the two nearest to an image (Martinetz &
    Schulten 1994), and spectral clustering of that graph joins those between which there is a way. So a group can have
    any shape: ten groups of the best autoencoder's codes are the ten digits, but for 2.6 % of the test images.

    A group's number can stand for a label: a GAN that is told it need not find the kinds of images by itself, and can
    leave out none (Sage et al. 2018, who cluster codes too; Liu et al. 2020).

    Args:
        count: of groups.
        landmarks: of which each group has some; no more than images.
        space: where images are near to each other or not.

    Raises:
        UserError: fewer than two groups, or fewer landmarks than groups.
    """

    landmarks: Tensor
    groups: Tensor
    shares: Tensor

    def __init__(self, count: int, landmarks: int, space: Pixels | Codes) -> None:
        super().__init__()
        if count < 2:
            raise UserError(f"clusters.count={count}: must be at least 2.")
        if landmarks < count:
            raise UserError(f"clusters.landmarks={landmarks}: must be at least clusters.count={count}.")
        self.count, self.space, self.starts_pretrained = count, space, space.starts_pretrained
        self.register_buffer("landmarks", torch.zeros(landmarks, math.prod(space.shape)))
        self.register_buffer("groups", torch.zeros(landmarks, dtype=torch.long))  # of each landmark
        self.register_buffer("shares", torch.full((count,), 1 / count))  # of the images, that are in each group

    def start_from(self, encoder: nn.Module, decoder: nn.Module) -> None:
        """Takes the weights of an autoencoder's networks, if the space is of codes."""
        self.space.start_from(encoder, decoder)

    @property
    def found(self) -> bool:
        """Whether `fit` has found them."""
        return bool(self.landmarks.any())

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Finds them among images.

        Raises:
            UserError: there are fewer images than landmarks.
        """
        many = len(self.landmarks)
        if len(images) < many:
            raise UserError(f"clusters.landmarks={many}: more than the {len(images)} training images.")
        self.space.fit(images[:STATISTICS])
        points = torch.cat([self._points(chunk) for chunk in images.split(CHUNK)])
        log.info("Looking for %d groups of alike images among %s.", self.count, f"{len(images):,}")
        points = points.cpu().double()  # doubles, for threads sum in any order
        seed = torch.initial_seed() % 2**32
        kmeans = MiniBatchKMeans(many, batch_size=4096, n_init=1, random_state=seed)
        landmarks = torch.from_numpy(kmeans.fit(points.numpy()).cluster_centers_)
        nearest = torch.cat(
            [torch.cdist(some, landmarks).topk(2, largest=False).indices for some in points.split(CHUNK)]
        )
        spectral = SpectralClustering(self.count, affinity="precomputed", random_state=seed)
        groups = torch.from_numpy(spectral.fit_predict(_neighbours(nearest, many).numpy())).long()
        self.landmarks.copy_(landmarks)
        self.groups.copy_(groups)
        self.shares.copy_(groups[nearest[:, 0]].bincount(minlength=self.count) / len(images))

    def _points(self, images: Tensor) -> Tensor:
        return self.space.enter(images).flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        return self.groups[torch.cdist(self._points(images), self.landmarks).argmin(dim=1)]

    def draw(self, count: int, random: torch.Generator) -> Tensor:
        """Numbers (count,) on the CPU, each as frequent as among the images."""
        return torch.multinomial(self.shares.cpu(), count, replacement=True, generator=random)


def _neighbours(nearest: Tensor, count: int) -> Tensor:
    """How often each two of `count` landmarks are the two nearest to an image: (N, 2) -> (count, count)."""
    common = torch.full((count, count), APART, dtype=torch.double)
    one, other = nearest.T
    return common.index_put_((one, other), common.new_ones(len(nearest)), accumulate=True) + common.T
