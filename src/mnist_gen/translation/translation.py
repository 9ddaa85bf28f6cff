"""Image translation: a network learns to turn images of class A into images of class B.

A strategy weighs the losses: L1 distance from the counterpart (regression), a discriminator that sees outputs (a GAN)
or pairs (a conditional GAN, Isola et al. 2017), and a cycle through both directions (CycleGAN, Zhu et al. 2017). The
metrics answer two questions: do the outputs look like B, and is each output the counterpart of its input?
"""

import copy
from collections.abc import Callable
from functools import cached_property
from typing import Any

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics.functional.classification import multiclass_confusion_matrix

from mnist_gen.data import IMAGE_SIZE, NUM_CLASSES
from mnist_gen.data.mnist import chunks, to_images, to_signed, to_unit
from mnist_gen.data.pairs import ImagePairs, PairBatch
from mnist_gen.evaluation import fidelity
from mnist_gen.evaluation.classifier import Classifier
from mnist_gen.networks.classifiers import Scorer
from mnist_gen.networks.discriminators import MinibatchDeviation
from mnist_gen.networks.inspection import Examples
from mnist_gen.training.adversarial import Loss, at_least_single, scores_and_penalty
from mnist_gen.training.optimization import descend, set_rates, update_average, warm_up_and_decay
from mnist_gen.training.processes import average
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
        # without pairs, a relativistic loss must not compare an output with its own target
        return self.fake(inputs, targets if self.sees == "pairs" else targets.roll(1, dims=0))


Translated = tuple[Direction, Tensor, Tensor, Tensor]  # inputs, targets and outputs (N, 1, 32, 32) in [-1, 1]


class Translation(L.LightningModule):
    """A translator from A to B, and one back if the strategy has a cycle loss."""

    starts_from = ("target_scorer",)
    in_use = ("averaged",)
    replayable = True
    rate_names = ("lr_translator", "lr_discriminator")  # in TensorBoard
    batches: Tensor

    def __init__(
        self,
        strategy: Strategy,
        translator: Callable[[], nn.Module],  # makes a network from images in [-1, 1] to images in [-1, 1]
        discriminator: Callable[[int], nn.Module],  # `discriminator(planes)` scores images (N, planes, 32, 32)
        loss: Loss,
        translator_optimizer: Callable[..., Optimizer],
        discriminator_optimizer: Callable[..., Optimizer],
        r1: float,  # weight of the gradient penalty at real images, see `adversarial.scores_and_penalty`
        r2: float,  # likewise at fake images
        penalised: float,  # share of each batch at which gradients are penalised
        warmup: int,  # batches over which the learning rates rise
        decay_from: float,  # share of the run after which the learning rates fall linearly to 0
        ema_decay: float,  # of the averaged translator from A to B, which `translate` uses
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.strategy = strategy
        self.a_to_b = Direction(translator(), discriminator, strategy.sees)
        self.b_to_a = Direction(translator(), discriminator, strategy.sees) if strategy.cycle else None
        self.averaged = copy.deepcopy(self.a_to_b.translator).requires_grad_(False).eval()
        self.scorer = Scorer().requires_grad_(False).eval()  # of B
        self.to(memory_format=torch.channels_last)  # faster on a CPU
        self.loss, self.r1, self.r2, self.penalised = loss, r1, r2, penalised
        self.translator_optimizer, self.discriminator_optimizer = translator_optimizer, discriminator_optimizer
        self.warmup, self.decay_from, self.ema_decay = warmup, decay_from, ema_decay
        self.confusion = np.zeros((NUM_CLASSES, NUM_CLASSES), int)  # (input's digit, digit read in the output)
        self.register_buffer("batches", torch.zeros(()), persistent=False)  # trained so far, on the device
        self._evaluated: list[tuple[Tensor, Tensor, Tensor]] = []  # outputs, targets, labels of each batch

    def start_from(self, target_scorer: Classifier) -> None:
        self.scorer.load_state_dict(target_scorer.network.state_dict())

    def examples(self) -> Examples:
        """The networks from A to B with their inputs."""
        images = torch.zeros(2, 1, IMAGE_SIZE, IMAGE_SIZE, device=self.device)
        discriminator = self.a_to_b.discriminator
        found: dict[str, tuple[nn.Module, tuple[Tensor, ...]]] = {"translator": (self.a_to_b.translator, (images,))}
        if discriminator is not None:
            group = next((part.group for part in discriminator.modules() if isinstance(part, MinibatchDeviation)), 1)
            found["discriminator"] = (discriminator, (self.a_to_b.fake(images, images).repeat(group, 1, 1, 1),))
        return found

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LambdaLR]]:
        directions = [part for part in (self.a_to_b, self.b_to_a) if part is not None]
        translators = nn.ModuleList(part.translator for part in directions)
        discriminators = nn.ModuleList(part.discriminator for part in directions if part.discriminator is not None)
        optimizers = [self.translator_optimizer(translators.parameters())]
        if len(discriminators):
            optimizers.append(self.discriminator_optimizer(discriminators.parameters()))
        batches = self.trainer.estimated_stepping_batches
        return optimizers, [warm_up_and_decay(o, batches, self.warmup, self.decay_from) for o in optimizers]

    def on_train_start(self) -> None:
        self.batches.fill_(self.global_step // len(self.trainer.optimizers))

    def on_train_batch_start(self, batch: PairBatch, batch_idx: int) -> None:
        set_rates(self)

    def training_step(self, batch: PairBatch, batch_idx: int) -> dict[str, Tensor]:
        """One step of the discriminators, then one of the translators; returns both losses, detached."""
        a, b = to_signed(batch[0]), to_signed(batch[1])
        translated = [(self.a_to_b, a, b, self.a_to_b.translator(a))]
        if self.b_to_a is not None:
            translated.append((self.b_to_a, b, a, self.b_to_a.translator(b)))
        translators, *discriminators = _as_list(self.optimizers())
        losses_d, real_scores = zip(*(self._discriminator_loss(*part) for part in translated), strict=True)
        loss_d = torch.stack(losses_d).sum()
        for optimizer in discriminators:
            descend(self, optimizer, loss_d)
        losses_g = [self._translator_loss(*part, known) for part, known in zip(translated, real_scores, strict=True)]
        loss_g = torch.stack(losses_g).sum() + self._cycle_loss(translated)
        descend(self, translators, loss_g)
        self.batches += 1
        update_average(self.averaged, self.a_to_b.translator, self.ema_decay, self.batches)
        losses = {"loss_d": loss_d.detach(), "loss_g": loss_g.detach()}
        average([*losses.values()])
        return losses

    def _discriminator_loss(
        self, direction: Direction, inputs: Tensor, targets: Tensor, outputs: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Adversarial loss with gradient penalty, and the scores of real images; zeros without a discriminator."""
        if direction.discriminator is None:
            return torch.zeros((), device=self.device), torch.zeros(len(inputs), device=self.device)
        real, fake = direction.real(inputs, targets), direction.fake(inputs, outputs.detach())
        real_scores, fake_scores, penalty = scores_and_penalty(
            direction.discriminator, real, fake, None, self.r1, self.r2, self.penalised
        )
        return self.loss.discriminator(real_scores, fake_scores) + penalty, real_scores.detach()

    def _translator_loss(
        self, direction: Direction, inputs: Tensor, targets: Tensor, outputs: Tensor, real_scores: Tensor
    ) -> Tensor:
        """Adversarial loss and L1 distance from the targets."""
        loss = torch.zeros((), device=self.device)
        if direction.discriminator is not None:
            loss = self.loss.generator(
                real_scores, at_least_single(direction.discriminator(direction.fake(inputs, outputs)))
            )
        if self.strategy.l1:
            loss = loss + self.strategy.l1 * F.l1_loss(outputs, targets)
        return loss

    def _cycle_loss(self, translated: list[Translated]) -> Tensor:
        """Cycle and identity losses; 0 with one direction."""
        loss = torch.zeros((), device=self.device)
        if len(translated) == 1:
            return loss
        for (direction, inputs, targets, outputs), (back, *_) in zip(translated, translated[::-1], strict=True):
            loss = loss + self.strategy.cycle * F.l1_loss(back.translator(outputs), inputs)
            if self.strategy.identity:
                loss = loss + self.strategy.identity * F.l1_loss(direction.translator(targets), targets)
        return loss

    def validation_step(self, batch: PairBatch, batch_idx: int) -> None:
        a, b, labels = batch
        self._evaluated.append((self.translate(a), b, labels))

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        self._log_metrics("val", *self._take_evaluated())

    def on_test_epoch_end(self) -> None:
        """Logs `test/*`, with the digit most often read for each input digit, and the real-data floor as `floor/*`."""
        outputs, targets, labels = self._take_evaluated()
        self._log_metrics("floor", targets, targets, labels)
        digits = self._log_metrics("test", outputs, targets, labels)
        self.confusion = multiclass_confusion_matrix(digits.cpu(), labels.cpu(), NUM_CLASSES).numpy()
        most_read = self.confusion.argmax(axis=1)
        becomes = {f"test/becomes_{digit}": float(most_read[digit]) for digit in labels.unique().tolist()}
        self.log_dict(becomes, logger=False)

    def _take_evaluated(self) -> list[Tensor]:
        """Outputs, targets and labels of the whole pass."""
        evaluated, self._evaluated = self._evaluated, []
        return [torch.cat(part) for part in zip(*evaluated, strict=True)]

    def _log_metrics(self, split: str, outputs: Tensor, targets: Tensor, labels: Tensor) -> Tensor:
        """Logs FID against other images of B, and correspondence with the targets; returns the digits read (N,).

        Without true counterparts, the share of outputs with the input's digit is the only measure of correspondence.
        """
        features, digits = fidelity.features_and_digits(self.scorer, outputs)
        metrics = fidelity.correspondence(digits, labels, outputs, targets)
        if not data_of(self.trainer, ImagePairs).true_counterparts:
            metrics = {"correspondence": metrics["correspondence"]}
        metrics = {"fid": fidelity.fid(features, self._features_of_b), **metrics}
        self.log_dict({f"{split}/{name}": value for name, value in metrics.items()}, logger=False)
        return digits

    @cached_property
    def _features_of_b(self) -> Tensor:
        images = data_of(self.trainer, ImagePairs).known_of_b(REAL_IMAGES).images
        return fidelity.features_and_digits(self.scorer, to_images(images).to(self.device))[0]

    @torch.no_grad()
    def translate(self, images: Tensor) -> Tensor:
        """Translates images (N, 1, 32, 32) in [0, 1] from A to B with the averaged translator."""
        return torch.cat([to_unit(self.averaged(to_signed(chunk))) for chunk in chunks(images)])


def _as_list(value: Any) -> list[Any]:
    """Lightning returns a single optimizer or schedule without a list."""
    return value if isinstance(value, list) else [value]
