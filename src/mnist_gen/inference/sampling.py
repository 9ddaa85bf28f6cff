"""Samples of a GAN, and paths from one digit to another."""

import torch
from torch import Tensor

from mnist_gen.data import NUM_CLASSES
from mnist_gen.errors import UserError, check_choice, check_least
from mnist_gen.evaluation.scorer import load_scorer
from mnist_gen.gan import GAN
from mnist_gen.interpolation.paths import (
    Interpolator,
    between_labels,
    endpoints_among,
    linear,
    sampled_latents,
    spherical,
)

LATENTS = 1000  # of a GAN without labels, among which the scorer finds the digits


def interpolate(
    model: GAN, digit: int, to: int, steps: int = 9, count: int = 1, between: str = "labels", seed: int = 0
) -> Tensor:
    """Images on paths from a digit to another, both ends included.

    Args:
        model: a GAN, such as `mnist_gen.load("cgan")`.
        digit, to: where the paths begin and end.
        steps: images on each path, at least 2.
        count: paths.
        between: `labels`: each path keeps one latent, the handwriting, and its label changes; `latents`: the latent
            changes too, on an arc. A GAN without labels takes `latents`; the packaged scorer reads its digits.
        seed: of the latents.

    Returns:
        Images (count, steps, 1, 32, 32) in [0, 1].

    Raises:
        UserError: there is no such digit, or the GAN has no labels.
    """
    check_choice("between", between, ("labels", "latents"))
    for name, value in (("digit", digit), ("to", to)):
        if value not in range(NUM_CLASSES):
            raise UserError(f"{name}={value}: choose 0 to {NUM_CLASSES - 1}.")
    check_least("steps", steps, 2)
    first, second = (torch.full((count,), value) for value in (digit, to))
    return _interpolator(model, between, seed).interpolate(first, second, steps, seed).transpose(0, 1)


def _interpolator(model: GAN, between: str, seed: int) -> Interpolator:
    if between == "latents":
        return _between_latents(model) if model.conditional else _among_samples(model, seed)
    if not model.conditional:
        raise UserError("between=labels: this GAN was trained without labels; use between=latents.")
    return between_labels(model)


def _between_latents(model: GAN) -> Interpolator:
    """Of a conditional GAN: between two latents and their labels."""
    by_label, width = between_labels(model), model.latent_dim

    def choose(first: Tensor, second: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        (start, _), (_, end) = (by_label.choose(first, second, random) for _ in range(2))
        return start, end

    def curve(start: Tensor, end: Tensor, shares: Tensor) -> Tensor:
        latents = spherical(start[:, :width], end[:, :width], shares)
        return torch.cat([latents, linear(start[:, width:], end[:, width:], shares)], dim=2)

    return Interpolator(choose, curve, by_label.decode)


def _among_samples(model: GAN, seed: int) -> Interpolator:
    """Of a GAN without labels: between latents whose images the packaged scorer reads as the digits."""
    sampled = sampled_latents(model, LATENTS, load_scorer(None, "MNIST").to(model.device), seed)
    return Interpolator(endpoints_among(sampled.latents, sampled.digits, "the GAN"), spherical, model.generate)
