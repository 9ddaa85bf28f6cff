"""Classifiers of digits, such as the scorer: the fixed reference classifier for all metrics of generators."""

from collections.abc import Callable

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR
from torchmetrics.classification import MulticlassAccuracy

from mnist_gen.data import IMAGE_SIZE, NUM_CLASSES
from mnist_gen.data.augment import random_affine
from mnist_gen.data.mnist import Batch, chunks
from mnist_gen.errors import UserError
from mnist_gen.networks.inspection import Examples
from mnist_gen.training.trainer import split_of


class Classifier(L.LightningModule):
    """A network from images in [0, 1] to logits (N, 10), trained by cross-entropy with a one-cycle schedule.

    `augment` is the strength of `random_affine` on training images, and the optimizer's `lr` the schedule's peak.
    """

    validation_metrics = ("accuracy",)
    replayable = True

    def __init__(self, network: nn.Module, optimizer: Callable[..., Optimizer], augment: float) -> None:
        super().__init__()
        self.network, self.optimizer, self.augment = network, optimizer, augment
        self.accuracy = MulticlassAccuracy(NUM_CLASSES, average="micro")
        with torch.no_grad():
            network.eval()(torch.zeros(1, 1, IMAGE_SIZE, IMAGE_SIZE))  # fails here if it cannot take images
        network.train()

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimizer and its schedule, stepped each batch (Smith & Topin 2018)."""
        optimizer = self.optimizer(self.network.parameters())
        steps = int(self.trainer.estimated_stepping_batches)
        rise = 0.2 if steps != 5 else 0.4  # torch divides by the length of the rise, less one
        rate = optimizer.defaults["lr"]
        schedule = OneCycleLR(optimizer, rate, total_steps=steps, pct_start=rise, cycle_momentum=False)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """A one-cycle schedule has a fixed length, so that a resumed run must be as long as planned."""
        schedule, batches = self.lr_schedulers(), self.trainer.estimated_stepping_batches
        assert isinstance(schedule, OneCycleLR)
        if schedule.total_steps != batches:
            raise UserError(
                f"trainer: this run's learning-rate schedule ends after {schedule.total_steps} batches and cannot be "
                f"changed to {batches}; start a new run."
            )

    def examples(self) -> Examples:
        """The network with its input."""
        images = torch.zeros(2, 1, IMAGE_SIZE, IMAGE_SIZE, device=self.device)
        return {"classifier": (self.network, (images,))}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, labels = batch
        return F.cross_entropy(self.network(random_affine(images, self.augment)), labels)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        images, labels = batch
        self.accuracy(self.network(images), labels)
        self.log(f"{split_of(self.trainer)}/accuracy", self.accuracy, on_step=False, on_epoch=True, logger=False)

    test_step = validation_step

    def probabilities(self, images: Tensor) -> Tensor:
        """Probabilities (N, 10) of the digits in images (N, 1, 32, 32) in [0, 1]."""
        return torch.cat([self.network(chunk) for chunk in chunks(images)]).softmax(dim=1)
