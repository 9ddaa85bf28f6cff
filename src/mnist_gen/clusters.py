"""Groups of alike images, found without labels."""

import logging
import math

import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn

from mnist_gen.data import CHUNK
from mnist_gen.errors import UserError
from mnist_gen.networks import STATISTICS
from mnist_gen.spaces import Codes, Pixels

log = logging.getLogger(__name__)


class Clusters(nn.Module):
    """k-means of images: images (N, 1, 32, 32) in [0, 1] -> the numbers (N,) of their nearest centres.

    Such a number can stand for a label: a GAN that is told it need not find the kinds of images by itself, and can
    leave out none (Sage et al. 2018, who cluster codes too; Liu et al. 2020).

    Args:
        count: of groups.
        space: where images are near to each other or not.

    Raises:
        UserError: fewer than two.
    """

    centers: Tensor
    shares: Tensor

    def __init__(self, count: int, space: Pixels | Codes) -> None:
        super().__init__()
        if count < 2:
            raise UserError(f"clusters.count={count}: must be at least 2.")
        self.count, self.space, self.starts_pretrained = count, space, space.starts_pretrained
        self.register_buffer("centers", torch.zeros(count, math.prod(space.shape)))
        self.register_buffer("shares", torch.full((count,), 1 / count))  # of the images, that are nearest to each

    def start_from(self, encoder: nn.Module, decoder: nn.Module) -> None:
        """Takes the weights of an autoencoder's networks, if the space is of codes."""
        self.space.start_from(encoder, decoder)

    @property
    def found(self) -> bool:
        """Whether `fit` has found them."""
        return bool(self.centers.any())

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Finds them among images.

        Raises:
            UserError: there are fewer images than groups.
        """
        if len(images) < self.count:
            raise UserError(f"clusters.count={self.count}: more than the {len(images)} training images.")
        self.space.fit(images[:STATISTICS])
        points = torch.cat([self._points(chunk) for chunk in images.split(CHUNK)])
        log.info("Looking for %d groups of alike images among %s.", self.count, f"{len(images):,}")
        kmeans = KMeans(self.count, n_init=4, random_state=torch.initial_seed() % 2**32)
        found = kmeans.fit(points.cpu().double().numpy())  # doubles, for threads sum in any order
        self.centers.copy_(torch.from_numpy(found.cluster_centers_))
        self.shares.copy_(torch.from_numpy(found.labels_).bincount(minlength=self.count) / len(images))

    def _points(self, images: Tensor) -> Tensor:
        return self.space.enter(images).flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        return torch.cdist(self._points(images), self.centers).argmin(dim=1)

    def draw(self, count: int, random: torch.Generator) -> Tensor:
        """Numbers (count,) on the CPU, each as frequent as among the images."""
        return torch.multinomial(self.shares.cpu(), count, replacement=True, generator=random)
