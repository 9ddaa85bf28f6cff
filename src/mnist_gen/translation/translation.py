"""Image translation: a network learns to turn images of class A into class B, by one strategy or another.

A strategy is a set of weights: pixels compared with the counterpart (regression), a discriminator that sees outputs
(a GAN) or pairs (a conditional GAN, Isola et al. 2017), and ways back (CycleGAN, Zhu et al. 2017). What comes of it is
judged twice: whether the outputs look like B, and whether each is the counterpart of its input.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import confusion_matrix
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from mnist_gen.data.mnist import CHUNK, NUM_CLASSES, to_images, to_signed, to_unit
from mnist_gen.data.pairs import ImagePairs, PairBatch
from mnist_gen.evaluation import fidelity
from mnist_gen.evaluation.classifier import Classifier
from mnist_gen.networks.classifiers import Scorer
from mnist_gen.training.adversarial import Loss, scored
from mnist_gen.training.optimization import descend, move_average, warm_up_and_decay
from mnist_gen.training.trainer import data_of
from mnist_gen.translation.strategy import Strategy

KNOWN = 10_000  # training images of B that show what B looks like


class Way(nn.Module):
    """From one class to the other: a generator, and what tells its images from real ones."""

    def __init__(self, generator: nn.Module, discriminator: Callable[[int], nn.Module], sees: str) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = None if sees == "nothing" else discriminator(2 if sees == "pairs" else 1)
        self.sees = sees

    def shown_made(self, given: Tensor, made: Tensor) -> Tensor:
        """What the discriminator gets to see of images made of the given ones."""
        return torch.cat([given, made], dim=1) if self.sees == "pairs" else made

    def shown_real(self, given: Tensor, wanted: Tensor) -> Tensor:
        """What it gets to see of the wanted ones that they meet.

        If it is outputs alone, in another order: some losses compare each real image with one that is made.
        """
        return torch.cat([given, wanted], dim=1) if self.sees == "pairs" else wanted.roll(1, dims=0)


@dataclass(frozen=True)
class Leg:
    """One way of a batch: images given, the wanted ones they meet, and those made of them."""

    way: Way
    given: Tensor
    wanted: Tensor
    made: Tensor


class Translation(L.LightningModule):
    """A translator from A to B, and one back where the strategy asks for it.

    Args:
        strategy: what it is trained by.
        generator: makes a network from images in [-1, 1] to images in [-1, 1].
        discriminator: makes a network that scores so many images shown together.
        loss: the adversarial loss, see `losses`.
        generator_optimizer: makes an optimizer from parameters.
        discriminator_optimizer: the same.
        r1: weight of the discriminator's gradient penalty at real images, see `losses.scored`.
        r2: the same at made ones.
        warmup: batches over which the learning rates rise to their value.
        decay_from: share of the run after which they fall linearly to 0.
        ema_decay: of the averaged generator from A to B, which is what counts.
    """

    starts_from = "reader"

    def __init__(
        self,
        strategy: Strategy,
        generator: Callable[[], nn.Module],
        discriminator: Callable[[int], nn.Module],
        loss: Loss,
        generator_optimizer: Callable[..., Optimizer],
        discriminator_optimizer: Callable[..., Optimizer],
        r1: float,
        r2: float,
        warmup: int,
        decay_from: float,
        ema_decay: float,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.strategy = strategy
        self.there = Way(generator(), discriminator, strategy.sees)
        self.back = Way(generator(), discriminator, strategy.sees) if strategy.cycle else None
        self.averaged = copy.deepcopy(self.there.generator).requires_grad_(False)
        self.reader = Scorer().requires_grad_(False)  # of B
        self.to(memory_format=torch.channels_last)  # faster on a CPU
        self.loss, self.r1, self.r2 = loss, r1, r2
        self.generator_optimizer, self.discriminator_optimizer = generator_optimizer, discriminator_optimizer
        self.warmup, self.decay_from, self.ema_decay = warmup, decay_from, ema_decay
        self._made: list[tuple[Tensor, Tensor, Tensor]] = []  # translations, their counterparts, labels
        self._known_of_b: Tensor | None = None  # features, once they are asked for
        self.becomes = np.zeros((NUM_CLASSES, NUM_CLASSES), int)  # a row an input's digit, a column what it was read as

    def start_from(self, classifier: L.LightningModule) -> None:
        """Takes the classifier of B, by which translations are read."""
        assert isinstance(classifier, Classifier)
        self.reader.load_state_dict(classifier.network.state_dict())

    def train(self, mode: bool = True) -> "Translation":
        """The reader and the averaged translator never train."""
        super().train(mode)
        self.reader.eval()
        self.averaged.eval()
        return self

    @property
    def ways(self) -> list[Way]:
        """There, and back if that is learnt."""
        return [self.there] if self.back is None else [self.there, self.back]

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LambdaLR]]:
        """One optimizer for the generators, one for the discriminators if there are any."""
        generators = nn.ModuleList(way.generator for way in self.ways)
        discriminators = nn.ModuleList(way.discriminator for way in self.ways if way.discriminator is not None)
        optimizers = [self.generator_optimizer(generators.parameters())]
        if len(discriminators):
            optimizers.append(self.discriminator_optimizer(discriminators.parameters()))
        batches = self.trainer.estimated_stepping_batches
        return optimizers, [warm_up_and_decay(o, batches, self.warmup, self.decay_from) for o in optimizers]

    def training_step(self, batch: PairBatch, batch_idx: int) -> dict[str, Tensor]:
        """One step of the discriminators, then one of the generators; returns both losses, detached."""
        a, b = to_signed(batch[0]), to_signed(batch[1])
        legs = [Leg(self.there, a, b, self.there.generator(a))]
        if self.back is not None:
            legs.append(Leg(self.back, b, a, self.back.generator(b)))
        generators, *discriminators = _listed(self.optimizers())
        step = self.global_step // (1 + len(discriminators))
        loss_d = torch.stack([self._discriminator_loss(leg) for leg in legs]).sum()
        for optimizer in discriminators:
            descend(self, optimizer, loss_d, step, "discriminator's loss")
        loss_g = torch.stack([self._generator_loss(leg) for leg in legs]).sum() + self._cycle_loss(legs)
        descend(self, generators, loss_g, step, "generator's loss")
        move_average(self.averaged, self.there.generator, self.ema_decay, step + 1)
        for schedule in _listed(self.lr_schedulers()):
            schedule.step()
        return {"loss_d": loss_d.detach(), "loss_g": loss_g.detach()}

    def _discriminator_loss(self, leg: Leg) -> Tensor:
        """To score wanted images above made ones; 0 without a discriminator."""
        way = leg.way
        if way.discriminator is None:
            return torch.zeros((), device=self.device)
        real, fake = way.shown_real(leg.given, leg.wanted), way.shown_made(leg.given, leg.made.detach())
        real_scores, fake_scores, penalty = scored(way.discriminator, real, fake, self.r1, self.r2)
        return self.loss.discriminator(real_scores, fake_scores) + penalty

    def _generator_loss(self, leg: Leg) -> Tensor:
        """To be scored as wanted images are, and to be near the one that the input meets."""
        way, loss = leg.way, torch.zeros((), device=self.device)
        if way.discriminator is not None:
            with torch.no_grad():
                real_scores = way.discriminator(way.shown_real(leg.given, leg.wanted))
            loss = self.loss.generator(real_scores, way.discriminator(way.shown_made(leg.given, leg.made)))
        if self.strategy.l1:
            loss = loss + self.strategy.l1 * F.l1_loss(leg.made, leg.wanted)
        return loss

    def _cycle_loss(self, legs: list[Leg]) -> Tensor:
        """To come back where one started, and to leave images alone that are of the wanted class; 0 for one way."""
        loss = torch.zeros((), device=self.device)
        for leg, other in zip(legs, legs[::-1], strict=True) if len(legs) == 2 else ():
            loss = loss + self.strategy.cycle * F.l1_loss(other.way.generator(leg.made), leg.given)
            if self.strategy.identity:
                loss = loss + self.strategy.identity * F.l1_loss(leg.way.generator(leg.wanted), leg.wanted)
        return loss

    def validation_step(self, batch: PairBatch, batch_idx: int) -> None:
        """Translates."""
        self._look(batch)

    def test_step(self, batch: PairBatch, batch_idx: int) -> None:
        """Translates."""
        self._look(batch)

    def _look(self, batch: PairBatch) -> None:
        a, b, labels = batch
        self._made.append((self.translate(a), b, labels))

    def on_validation_epoch_end(self) -> None:
        """Logs `val/*`."""
        self._log("val", *self._looked_at())

    def on_test_epoch_end(self) -> None:
        """Logs `test/*`, among them what each digit mostly becomes, and as `floor/*` what the counterparts get."""
        made, wanted, labels = self._looked_at()
        self._log("floor", wanted, wanted, labels)
        digits = self._log("test", made, wanted, labels)
        self.becomes = confusion_matrix(labels.tolist(), digits.tolist(), labels=range(NUM_CLASSES))
        mostly = {f"test/becomes_{digit}": float(self.becomes[digit].argmax()) for digit in labels.unique().tolist()}
        self.log_dict(mostly, logger=False)

    def _looked_at(self) -> list[Tensor]:
        """Translations, their counterparts and labels of the whole pass."""
        made, self._made = self._made, []
        return [torch.cat(part) for part in zip(*made, strict=True)]

    def _log(self, split: str, made: Tensor, wanted: Tensor, labels: Tensor) -> Tensor:
        """Realism by other images of B, so that it says nothing of whose counterpart a translation is; then that.

        Where there are no true counterparts, the digit that is read is all. Returns the digits.
        """
        features, digits = fidelity.read(self.reader, made)
        found = {"fid": fidelity.fid(features, self._features_of_b())}
        corresponding = fidelity.correspondence(digits, labels, made, wanted)
        found |= (
            corresponding
            if data_of(self.trainer, ImagePairs).true_counterparts
            else {"correspondence": corresponding["correspondence"]}
        )
        self.log_dict({f"{split}/{name}": value for name, value in found.items()}, logger=False)
        return digits

    def _features_of_b(self) -> Tensor:
        if self._known_of_b is None:
            images = data_of(self.trainer, ImagePairs).known_of_b(KNOWN).images
            self._known_of_b = fidelity.read(self.reader, to_images(images).to(self.device))[0]
        return self._known_of_b

    @torch.no_grad()
    def translate(self, images: Tensor) -> Tensor:
        """What the averaged translator makes of images (N, 1, 32, 32) in [0, 1]: as many in [0, 1]."""
        return torch.cat([to_unit(self.averaged(to_signed(chunk))) for chunk in images.split(CHUNK)])


def _listed(some: Any) -> list[Any]:
    """Lightning gives one optimizer or schedule as it is, more in a list."""
    return some if isinstance(some, list) else [some]
