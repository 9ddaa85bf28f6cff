"""Adversarial losses as small pairs of functions of scores, the gradient penalty, and how a classifier does.

A score is the discriminator's logit, shape (N,); positive says "real". `discriminator` and `generator` each turn
the scores of real and of fake images, drawn for the same labels, into the scalar that network descends. The
discriminator's loss is the mean of its loss on real and its loss on fake images, as in the report.
"""

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Loss(Protocol):
    """What every adversarial loss offers; real and fake scores are (N,), results scalars."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor: ...
    def generator(self, real: Tensor, fake: Tensor) -> Tensor: ...


class Relativistic:
    """RpGAN: each fake is compared with a real image (Jolicoeur-Martineau 2018; R3GAN, Huang et al. 2024)."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(fake - real).mean()

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(real - fake).mean()


class NonSaturating:
    """Logistic losses; the generator ascends log D(fake) (Goodfellow et al. 2014)."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(-fake).mean()


class Hinge:
    """Margin losses (Lim & Ye 2017; Miyato et al. 2018)."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        return -fake.mean()


class BCE:
    """Binary cross-entropy against target values, as the report trains.

    With `real_target` 1 it equals `NonSaturating`; a smaller one is one-sided label smoothing (Salimans et al.
    2016).
    """

    def __init__(self, real_target: float = 1.0) -> None:
        self.real_target = real_target

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return (self._against(real, self.real_target) + self._against(fake, 0.0)) / 2

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        return self._against(fake, 1.0)

    @staticmethod
    def _against(scores: Tensor, target: float) -> Tensor:
        return F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, target))


def scored(
    discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, r1: float, r2: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores of real and of fake points, each (N,), in one pass, and the R1 + R2 penalty (a scalar).

    Args:
        discriminator: scores (2N,) of the real points and then the fake ones.
        real: points (N, ...).
        fake: as many.
        r1: weight of half the squared gradient norm at real points (Mescheder et al. 2018).
        r2: the same at fake ones.
    """
    penalised = r1 > 0 or r2 > 0
    points = torch.cat([real, fake]).requires_grad_(penalised)
    scores = discriminator(points)
    real_scores, fake_scores = scores.chunk(2)
    if not penalised:
        return real_scores, fake_scores, scores.new_zeros(())
    at_real, at_fake = squared_gradient_norm(scores, points).chunk(2)
    return real_scores, fake_scores, r1 / 2 * at_real.mean() + r2 / 2 * at_fake.mean()


def squared_gradient_norm(scores: Tensor, points: Tensor) -> Tensor:
    """|d score / d point|^2 for each image or code, (N,), differentiable: of R1 and R2 (Mescheder et al. 2018).

    R1 is half its weight times the mean over real images, R2 the same over fake ones.
    """
    (gradient,) = torch.autograd.grad(scores.sum(), points, create_graph=True)
    return gradient.flatten(1).square().sum(dim=1)
