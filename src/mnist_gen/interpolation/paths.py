"""Walks from one digit to another: through an autoencoder's codes, a GAN's latents, a conditional GAN's labels."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mnist_gen.autoencoder import Autoencoder
from mnist_gen.data.mnist import CHUNK, NUM_CLASSES, ImageSet, to_images
from mnist_gen.errors import UserError
from mnist_gen.evaluation import fidelity
from mnist_gen.gan import GAN
from mnist_gen.networks.generators import CodeGenerator, Generator

Bend = Callable[[Tensor, Tensor, Tensor], Tensor]
Choose = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]


def linear(start: Tensor, end: Tensor, shares: Tensor) -> Tensor:
    """Points (S, N, D) on the straight lines from `start` to `end` (N, D), at shares (S,) of the way."""
    return torch.lerp(start, end, shares[:, None, None])


def spherical(start: Tensor, end: Tensor, shares: Tensor) -> Tensor:
    """The same on arcs about the origin (Shoemake 1985), where normal latents stay as likely as at the ends."""
    cosine = torch.cosine_similarity(start, end, dim=1).clamp(-1 + 1e-6, 1 - 1e-6)
    angle, shares = cosine.acos()[None, :, None], shares[:, None, None]
    return (((1 - shares) * angle).sin() * start + (shares * angle).sin() * end) / angle.sin()


@dataclass(frozen=True)
class Walker:
    """Walks from digit to digit through a space of points that some model paints.

    Attributes:
        choose: start and end points (N, D) whose images show the given digits (N,) and (N,), at random.
        bend: `linear` or `spherical`.
        paint: images (N, 1, 32, 32) in [0, 1] of points (N, D).
    """

    choose: Choose
    bend: Bend
    paint: Callable[[Tensor], Tensor]

    @torch.no_grad()
    def walk(self, first: Tensor, second: Tensor, steps: int, seed: int) -> Tensor:
        """Images (S, N, 1, 32, 32) on the ways from digits (N,) to digits (N,), both ends included."""
        start, end = self.choose(first, second, torch.Generator().manual_seed(seed))
        points = self.bend(start, end, torch.linspace(0, 1, steps, device=start.device)).flatten(0, 1)
        return torch.cat([self.paint(chunk) for chunk in points.split(CHUNK)]).unflatten(0, (steps, len(first)))


def among(points: Tensor, digits: Tensor, what: str) -> Choose:
    """Chooses among points (M, D) whose images are known to show digits (M,)."""
    order, counts = digits.cpu().argsort().to(points.device), torch.bincount(digits.cpu(), minlength=NUM_CLASSES)
    before = counts.cumsum(0) - counts

    def pick(asked: Tensor, generator: torch.Generator) -> Tensor:
        if missing := sorted(set(asked.tolist()) - set(counts.nonzero().flatten().tolist())):
            raise UserError(f"{what} shows no {missing[0]} in {len(digits)} images: choose another checkpoint.")
        number = (torch.rand(len(asked), generator=generator) * counts[asked]).long()
        return points[order[(before[asked] + number).to(order.device)]]

    return lambda first, second, generator: (pick(first, generator), pick(second, generator))


def by_label(model: GAN) -> tuple[Choose, Callable[[Tensor], Tensor]]:
    """Chooses a latent and walks from label to label: points are latents beside label codes; and what paints them."""
    generator = model.averaged
    assert isinstance(generator, Generator | CodeGenerator)
    assert generator.code is not None
    table, width = generator.code.weight, model.latent_dim

    def choose(first: Tensor, second: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        latents = model.latents(len(first), random)
        return torch.cat([latents, table[first]], dim=1), torch.cat([latents, table[second]], dim=1)

    def paint(points: Tensor) -> Tensor:
        return model.space.leave(generator.paint(points[:, :width], points[:, width:]))

    return choose, paint


@dataclass(frozen=True)
class Known:
    """Points (M, D) of a space, their images (M, 1, 32, 32), and the digits (M,) that these show."""

    points: Tensor
    images: Tensor
    digits: Tensor


@torch.no_grad()
def encoded(autoencoder: Autoencoder, real: ImageSet) -> Known:
    """Codes of real images, and what the autoencoder makes of these."""
    codes = autoencoder.encode(to_images(real.images))
    return Known(codes, autoencoder.decode(codes), real.labels)


def drawn(gan: GAN, count: int, scorer: fidelity.Scorer, seed: int) -> Known:
    """Latents of an unconditional GAN, whose digits are those that the scorer reads."""
    latents = gan.latents(count, torch.Generator().manual_seed(seed))
    images = gan.generate(latents)
    return Known(latents, images, fidelity.read(scorer, images)[1])


def walkers(autoencoder: Autoencoder, codes: Known, gan: GAN, latents: Known, cgan: GAN) -> dict[str, Walker]:
    """Ways to walk, by the names of their spaces; arcs among codes are drawn about the codes' mean."""
    center = codes.points.mean(dim=0)
    coded = among(codes.points - center, codes.digits, "the data set")
    sampled = among(latents.points, latents.digits, "the GAN")
    named, paint = by_label(cgan)

    def decode(points: Tensor) -> Tensor:
        return autoencoder.decode(points + center)

    return {
        "autoencoder, linear": Walker(coded, linear, decode),
        "autoencoder, spherical": Walker(coded, spherical, decode),
        "GAN, linear": Walker(sampled, linear, gan.generate),
        "GAN, spherical": Walker(sampled, spherical, gan.generate),
        "cGAN, label to label": Walker(named, linear, paint),
    }
