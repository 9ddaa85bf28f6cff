"""Adversarial losses and the gradient penalty.

A score is the discriminator's logit, shape (N,); positive means "real". `discriminator` and `generator` return the
scalar loss of that network from scores of real and fake images. The discriminator's loss averages over both, as in
the student report. A GAN also passes real images with wrong labels as fake ones, see its `mismatch`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from mnist_gen.networks.input_gradients import by_autograd


class Loss(Protocol):
    """The interface of an adversarial loss: scores (N,) of real and fake images -> scalar losses."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor: ...
    def generator(self, real: Tensor, fake: Tensor) -> Tensor: ...


class Relativistic:
    """RpGAN: compares each fake image with a real one (Jolicoeur-Martineau 2018; R3GAN, Huang et al. 2024)."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(fake - real).mean()

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(real - fake).mean()


class NonSaturating:
    """Logistic losses; the generator maximises log D(fake) (Goodfellow et al. 2014)."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(-fake).mean()


class Hinge:
    """Hinge losses (Lim & Ye 2017; Miyato et al. 2018)."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        return -fake.mean()


@dataclass(frozen=True)
class BCE:
    """Binary cross-entropy with targets, as in the student report. With `real_target=1` it equals `NonSaturating`.

    A smaller target is one-sided label smoothing (Salimans et al. 2016).
    """

    real_target: float = 1.0

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return (_cross_entropy(real, self.real_target) + _cross_entropy(fake, 0.0)) / 2

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        return _cross_entropy(fake, 1.0)


def _cross_entropy(scores: Tensor, target: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, target))


def at_least_single(values: Tensor) -> Tensor:
    """Scores or gradients in at least single precision: losses are differences, and bf16 has three digits."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def scores_and_penalty(
    discriminator: Callable[..., Tensor],
    real: Tensor,
    fake: Tensor,
    labels: Tensor | None,
    r1: float,
    r2: float,
    share: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (N,) of real and of fake images or latents (N, ...) with labels (N,), and the scalar R1 + R2 penalty.

    `r1` weighs half the squared gradient norm at real ones, `r2` at fake ones (Mescheder et al. 2018). The norms are
    means over the first `share` of the batch, because gradients cost as much as scores.
    """
    count = math.ceil(share * len(real)) if r1 or r2 else 0
    points = torch.cat([real[:count], fake[:count], real[count:], fake[count:]])
    both = None if labels is None else torch.cat([labels[:count], labels[:count], labels[count:], labels[count:]])
    if count:
        differentiate = getattr(discriminator, "scores_and_gradients", partial(by_autograd, discriminator))
        scores, gradients = differentiate(points, both, 2 * count)
        at_real, at_fake = at_least_single(gradients).flatten(1).square().sum(dim=1).chunk(2)  # squared norms (count,)
        penalty = r1 / 2 * at_real.mean() + r2 / 2 * at_fake.mean()
    else:
        scores = discriminator(points) if both is None else discriminator(points, both)
        penalty = torch.zeros((), device=scores.device)
    parts = at_least_single(scores).split([count, count, len(real) - count, len(real) - count])
    return torch.cat(parts[::2]), torch.cat(parts[1::2]), penalty
