"""Image translation: a network learns to turn images of class A into images of class B.

A strategy weighs the losses: L1 distance from the counterpart (regression), a discriminator that sees outputs (a GAN)
or pairs (a conditional GAN, Isola et al. 2017), and a cycle through both directions (CycleGAN, Zhu et al. 2017). The
metrics answer two questions: do the outputs look like B, and is each output the counterpart of its input?
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

from mnist_gen.data import NUM_CLASSES
from mnist_gen.data.mnist import CHUNK, to_images, to_signed, to_unit
from mnist_gen.data.pairs import ImagePairs, PairBatch
from mnist_gen.evaluation import fidelity
from mnist_gen.evaluation.classifier import Classifier
from mnist_gen.networks.classifiers import Scorer
from mnist_gen.training.adversarial import Loss, scores_and_penalty
from mnist_gen.training.optimization import descend, update_average, warm_up_and_decay
from mnist_gen.training.trainer import data_of
from mnist_gen.translation.strategy import Strategy

REAL_IMAGES = 10_000  # training images of B that FID compares with


class Direction(nn.Module):
    """A translator from one class to the other, and the discriminator of its outputs."""

    def __init__(self, translator: nn.Module, discriminator: Callable[[int], nn.Module], sees: str) -> None:
        super().__init__()
        self.translator = translator
        self.discriminator = None if sees == "nothing" else discriminator(2 if sees == "pairs" else 1)
        self.sees = sees

    def fake(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        """The discriminator's fake images: outputs, or pairs (N, 2, 32, 32) of input and output."""
        return torch.cat([inputs, outputs], dim=1) if self.sees == "pairs" else outputs

    def real(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """The discriminator's real images: targets, or pairs (N, 2, 32, 32) of input and target."""
        if self.sees == "pairs":
            return torch.cat([inputs, targets], dim=1)
        return targets.roll(1, dims=0)  # a relativistic loss must not compare an output with its own target


@dataclass(frozen=True)
class Translated:
    """A batch in one direction: images (N, 1, 32, 32) in [-1, 1]."""

    direction: Direction
    inputs: Tensor
    targets: Tensor
    outputs: Tensor


class Translation(L.LightningModule):
    """A translator from A to B, and one back if the strategy has a cycle loss.

    Args:
        strategy: weights of the losses.
        translator: makes a network from images in [-1, 1] to images in [-1, 1].
        discriminator: `discriminator(planes)` makes a network that scores images (N, planes, 32, 32).
        loss: the adversarial loss, see `training.adversarial`.
        translator_optimizer: makes an optimizer from parameters.
        discriminator_optimizer: makes an optimizer from parameters.
        r1: weight of the gradient penalty at real images, see `adversarial.scores_and_penalty`.
        r2: weight of the gradient penalty at fake images.
        warmup: batches over which the learning rates rise to their maximum.
        decay_from: share of the run after which the learning rates fall linearly to 0.
        ema_decay: of the averaged translator from A to B, which `translate` uses.
    """

    starts_from = "target_scorer"

    def __init__(
        self,
        strategy: Strategy,
        translator: Callable[[], nn.Module],
        discriminator: Callable[[int], nn.Module],
        loss: Loss,
        translator_optimizer: Callable[..., Optimizer],
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
        self.a_to_b = Direction(translator(), discriminator, strategy.sees)
        self.b_to_a = Direction(translator(), discriminator, strategy.sees) if strategy.cycle else None
        self.averaged = copy.deepcopy(self.a_to_b.translator).requires_grad_(False)
        self.scorer = Scorer().requires_grad_(False)  # of B
        self.to(memory_format=torch.channels_last)  # faster on a CPU
        self.loss, self.r1, self.r2 = loss, r1, r2
        self.translator_optimizer, self.discriminator_optimizer = translator_optimizer, discriminator_optimizer
        self.warmup, self.decay_from, self.ema_decay = warmup, decay_from, ema_decay
        self.confusion = np.zeros((NUM_CLASSES, NUM_CLASSES), int)  # (input's digit, digit read in the output)
        self._evaluated: list[tuple[Tensor, Tensor, Tensor]] = []  # outputs, targets, labels of each batch
        self._real_features: Tensor | None = None

    def start_from(self, classifier: L.LightningModule) -> None:
        """Takes the scorer of B from a classifier."""
        assert isinstance(classifier, Classifier)
        self.scorer.load_state_dict(classifier.network.state_dict())

    def train(self, mode: bool = True) -> "Translation":
        """Keeps the scorer and the averaged translator in evaluation mode."""
        super().train(mode)
        self.scorer.eval()
        self.averaged.eval()
        return self

    @property
    def directions(self) -> list[Direction]:
        """A to B, and B to A if it is trained."""
        return [self.a_to_b] if self.b_to_a is None else [self.a_to_b, self.b_to_a]

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LambdaLR]]:
        """One optimizer for the translators, and one for the discriminators if there are any."""
        translators = nn.ModuleList(direction.translator for direction in self.directions)
        discriminators = nn.ModuleList(
            direction.discriminator for direction in self.directions if direction.discriminator is not None
        )
        optimizers = [self.translator_optimizer(translators.parameters())]
        if len(discriminators):
            optimizers.append(self.discriminator_optimizer(discriminators.parameters()))
        batches = self.trainer.estimated_stepping_batches
        return optimizers, [warm_up_and_decay(o, batches, self.warmup, self.decay_from) for o in optimizers]

    def training_step(self, batch: PairBatch, batch_idx: int) -> dict[str, Tensor]:
        """One step of the discriminators, then one of the translators; returns both losses, detached."""
        a, b = to_signed(batch[0]), to_signed(batch[1])
        translated = [Translated(self.a_to_b, a, b, self.a_to_b.translator(a))]
        if self.b_to_a is not None:
            translated.append(Translated(self.b_to_a, b, a, self.b_to_a.translator(b)))
        translators, *discriminators = _as_list(self.optimizers())
        step = self.global_step // (1 + len(discriminators))
        loss_d = torch.stack([self._discriminator_loss(part) for part in translated]).sum()
        for optimizer in discriminators:
            descend(self, optimizer, loss_d, step, "discriminator's loss")
        loss_g = torch.stack([self._translator_loss(part) for part in translated]).sum() + self._cycle_loss(translated)
        descend(self, translators, loss_g, step, "translator's loss")
        update_average(self.averaged, self.a_to_b.translator, self.ema_decay, step + 1)
        for schedule in _as_list(self.lr_schedulers()):
            schedule.step()
        return {"loss_d": loss_d.detach(), "loss_g": loss_g.detach()}

    def _discriminator_loss(self, part: Translated) -> Tensor:
        """Adversarial loss and gradient penalty; 0 without a discriminator."""
        direction = part.direction
        if direction.discriminator is None:
            return torch.zeros((), device=self.device)
        real, fake = direction.real(part.inputs, part.targets), direction.fake(part.inputs, part.outputs.detach())
        real_scores, fake_scores, penalty = scores_and_penalty(direction.discriminator, real, fake, self.r1, self.r2)
        return self.loss.discriminator(real_scores, fake_scores) + penalty

    def _translator_loss(self, part: Translated) -> Tensor:
        """Adversarial loss and L1 distance from the targets."""
        direction, loss = part.direction, torch.zeros((), device=self.device)
        if direction.discriminator is not None:
            with torch.no_grad():
                real_scores = direction.discriminator(direction.real(part.inputs, part.targets))
            loss = self.loss.generator(real_scores, direction.discriminator(direction.fake(part.inputs, part.outputs)))
        if self.strategy.l1:
            loss = loss + self.strategy.l1 * F.l1_loss(part.outputs, part.targets)
        return loss

    def _cycle_loss(self, translated: list[Translated]) -> Tensor:
        """Cycle and identity losses; 0 with one direction."""
        loss = torch.zeros((), device=self.device)
        if len(translated) == 1:
            return loss
        for part, other in zip(translated, translated[::-1], strict=True):
            loss = loss + self.strategy.cycle * F.l1_loss(other.direction.translator(part.outputs), part.inputs)
            if self.strategy.identity:
                unchanged = part.direction.translator(part.targets)
                loss = loss + self.strategy.identity * F.l1_loss(unchanged, part.targets)
        return loss

    def validation_step(self, batch: PairBatch, batch_idx: int) -> None:
        a, b, labels = batch
        self._evaluated.append((self.translate(a), b, labels))

    def test_step(self, batch: PairBatch, batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        """Logs `val/*`."""
        self._log_metrics("val", *self._take_evaluated())

    def on_test_epoch_end(self) -> None:
        """Logs `test/*`, with the digit most often read for each input digit, and the real-data floor as `floor/*`."""
        outputs, targets, labels = self._take_evaluated()
        self._log_metrics("floor", targets, targets, labels)
        digits = self._log_metrics("test", outputs, targets, labels)
        self.confusion = confusion_matrix(labels.tolist(), digits.tolist(), labels=range(NUM_CLASSES))
        most_read = {
            f"test/becomes_{digit}": float(self.confusion[digit].argmax()) for digit in labels.unique().tolist()
        }
        self.log_dict(most_read, logger=False)

    def _take_evaluated(self) -> list[Tensor]:
        """Outputs, targets and labels of the whole pass."""
        evaluated, self._evaluated = self._evaluated, []
        return [torch.cat(part) for part in zip(*evaluated, strict=True)]

    def _log_metrics(self, split: str, outputs: Tensor, targets: Tensor, labels: Tensor) -> Tensor:
        """Logs FID against other images of B, and correspondence with the targets; returns the digits read (N,).

        Without true counterparts, the share of outputs with the input's digit is the only measure of correspondence.
        """
        features, digits = fidelity.features_and_digits(self.scorer, outputs)
        metrics = {"fid": fidelity.fid(features, self._features_of_b())}
        corresponding = fidelity.correspondence(digits, labels, outputs, targets)
        if not data_of(self.trainer, ImagePairs).true_counterparts:
            corresponding = {"correspondence": corresponding["correspondence"]}
        metrics |= corresponding
        self.log_dict({f"{split}/{name}": value for name, value in metrics.items()}, logger=False)
        return digits

    def _features_of_b(self) -> Tensor:
        if self._real_features is None:
            images = data_of(self.trainer, ImagePairs).known_of_b(REAL_IMAGES).images
            self._real_features = fidelity.features_and_digits(self.scorer, to_images(images).to(self.device))[0]
        return self._real_features

    @torch.no_grad()
    def translate(self, images: Tensor) -> Tensor:
        """Translates images (N, 1, 32, 32) in [0, 1] from A to B with the averaged translator."""
        return torch.cat([to_unit(self.averaged(to_signed(chunk))) for chunk in images.split(CHUNK)])


def _as_list(value: Any) -> list[Any]:
    """Lightning returns a single optimizer or schedule without a list."""
    return value if isinstance(value, list) else [value]
