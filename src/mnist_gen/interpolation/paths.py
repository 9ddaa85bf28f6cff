"""Paths from one digit to another, through an autoencoder's latents, a GAN's latents, or a conditional GAN's labels."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mnist_gen.autoencoder import Autoencoder
from mnist_gen.data import NUM_CLASSES
from mnist_gen.data.mnist import ImageSet, chunks, to_images
from mnist_gen.errors import UserError
from mnist_gen.evaluation import fidelity
from mnist_gen.gan import GAN

log = logging.getLogger(__name__)

Curve = Callable[[Tensor, Tensor, Tensor], Tensor]
ChooseEndpoints = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]


def linear(start: Tensor, end: Tensor, shares: Tensor) -> Tensor:
    """Latents (S, N, D) on straight lines from `start` to `end` (N, D), at shares (S,) of the path."""
    return torch.lerp(start, end, shares[:, None, None])


def spherical(start: Tensor, end: Tensor, shares: Tensor) -> Tensor:
    """As `linear`, on arcs about the origin (Shoemake 1985), where normal latents stay as likely as at the ends."""
    cosine = torch.cosine_similarity(start, end, dim=1).clamp(-1 + 1e-6, 1 - 1e-6)
    angle, shares = cosine.acos()[None, :, None], shares[:, None, None]
    return (((1 - shares) * angle).sin() * start + (shares * angle).sin() * end) / angle.sin()


@dataclass(frozen=True)
class Interpolator:
    """Interpolates between digits in a model's latent space."""

    choose: ChooseEndpoints  # draws start and end latents (N, D) that show the given digits (N,) and (N,)
    curve: Curve  # `linear` or `spherical`
    decode: Callable[[Tensor], Tensor]  # latents (N, D) -> images (N, 1, 32, 32) in [0, 1]

    @torch.no_grad()
    def interpolate(self, first: Tensor, second: Tensor, steps: int, seed: int) -> Tensor:
        """Images (S, N, 1, 32, 32) on paths from digits (N,) to digits (N,), both ends included."""
        start, end = self.choose(first, second, torch.Generator().manual_seed(seed))
        latents = self.curve(start, end, torch.linspace(0, 1, steps, device=start.device)).flatten(0, 1)
        return torch.cat([self.decode(chunk) for chunk in chunks(latents)]).unflatten(0, (steps, len(first)))


def endpoints_among(latents: Tensor, digits: Tensor, source: str) -> ChooseEndpoints:
    """Chooses among latents (M, D) of known digits (M,); `source` names them in messages."""
    order, counts = digits.cpu().argsort(), torch.bincount(digits.cpu(), minlength=NUM_CLASSES)
    offsets = counts.cumsum(0) - counts  # of each digit in `order`
    if not counts.all():
        missing = counts.tolist().index(0)
        raise UserError(f"{source} shows no {missing} in {len(digits)} images: paths need all ten digits.")

    def pick(wanted: Tensor, random: torch.Generator) -> Tensor:
        number = (torch.rand(len(wanted), generator=random) * counts[wanted]).long()
        return latents[order[offsets[wanted] + number].to(latents.device)]

    return lambda first, second, random: (pick(first, random), pick(second, random))


def between_labels(model: GAN) -> Interpolator:
    """From label to label: each latent is kept, and a label vector appended."""
    generator, width = model.averaged, model.latent_dim
    assert generator.label_vectors is not None
    vectors = generator.label_vectors.weight  # (10, embedding_dim)

    def choose(first: Tensor, second: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        latents = model.latents(len(first), random)
        return torch.cat([latents, vectors[first]], dim=1), torch.cat([latents, vectors[second]], dim=1)

    def decode(latents: Tensor) -> Tensor:
        return model.space.leave(generator.from_vectors(latents[:, :width], latents[:, width:]))

    return Interpolator(choose, linear, decode)


@dataclass(frozen=True)
class LabelledLatents:
    """Latents (M, D) of a model, their images (M, 1, 32, 32), and the images' digits (M,)."""

    latents: Tensor
    images: Tensor
    digits: Tensor


@torch.no_grad()
def encoded_images(autoencoder: Autoencoder, real: ImageSet) -> LabelledLatents:
    """The latents of real images, and the autoencoder's reconstructions."""
    latents = autoencoder.encode(to_images(real.images))
    return LabelledLatents(latents, autoencoder.decode(latents), real.labels)


@torch.no_grad()
def sampled_latents(gan: GAN, count: int, scorer: fidelity.Scorer, seed: int) -> LabelledLatents:
    """Random latents of an unconditional GAN; the scorer reads their digits, each at least once."""
    latents = gan.latents(count, torch.Generator().manual_seed(seed))
    images = gan.generate(latents)
    features, _ = fidelity.features_and_digits(scorer, images)
    return LabelledLatents(latents, images, all_digits(scorer.head(features)))


def all_digits(logits: Tensor) -> Tensor:
    """The digits (N,) that a classifier reads; a digit that it reads nowhere goes to the image most like it."""
    digits = logits.argmax(dim=1)
    missing = [digit for digit in range(NUM_CLASSES) if not (digits == digit).any()]
    for digit in missing:
        only = torch.bincount(digits, minlength=NUM_CLASSES)[digits] == 1
        digits[logits[:, digit].masked_fill(only, -torch.inf).argmax()] = digit
    if missing:
        shown = ", ".join(map(str, missing))
        log.warning("No image of the GAN reads as %s: the images most like it stand for it.", shown)
    return digits


def interpolators(
    autoencoder: Autoencoder, encoded: LabelledLatents, gan: GAN, sampled: LabelledLatents, cgan: GAN
) -> dict[str, Interpolator]:
    """All interpolators by name. The autoencoder's latents are centred, so that arcs run about their mean."""
    center = encoded.latents.mean(dim=0)
    among_encoded = endpoints_among(encoded.latents - center, encoded.digits, "the data set")
    among_sampled = endpoints_among(sampled.latents, sampled.digits, "the GAN")

    def decode(latents: Tensor) -> Tensor:
        return autoencoder.decode(latents + center)

    return {
        "autoencoder, linear": Interpolator(among_encoded, linear, decode),
        "autoencoder, spherical": Interpolator(among_encoded, spherical, decode),
        "GAN, linear": Interpolator(among_sampled, linear, gan.generate),
        "GAN, spherical": Interpolator(among_sampled, spherical, gan.generate),
        "cGAN, label to label": between_labels(cgan),
    }
