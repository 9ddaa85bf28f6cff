"""A run's progress bar."""

import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from tqdm.auto import tqdm

from mnist_gen.runs.tensorboard import epochs_done

log = logging.getLogger(__name__)


class Progress(Callback):
    """One progress bar for the whole run, with losses and remaining time.

    Args:
        shown: the losses to show, as named by `training_step`.
        every_seconds: seconds between two refreshes on a terminal; ten in a file. Values are fetched from the device
            only then.
    """

    def __init__(self, shown: Sequence[str], every_seconds: float) -> None:
        self.shown, self.every_seconds = list(shown), every_seconds
        self._bar: tqdm | None = None
        self._outputs: dict[str, Tensor] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Opens the bar at the run's present batch."""
        total = trainer.estimated_stepping_batches
        done = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        self._bar = tqdm(
            total=int(total),
            initial=done,
            desc="training",
            unit="batch",
            mininterval=self.every_seconds if sys.stderr.isatty() else 10,
            dynamic_ncols=True,
            disable=not trainer.is_global_zero,
        )

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts the batch, and refreshes the bar if it is time."""
        self._outputs = outputs
        if self._bar is not None and self._bar.update():
            self._show_losses(epochs_done(trainer))

    def _show_losses(self, epoch: int) -> None:
        assert self._bar is not None
        values = {name: f"{self._outputs[name].item():.3f}" for name in self.shown if name in self._outputs}
        self._bar.set_postfix({"epoch": epoch, **values}, refresh=False)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Closes the bar."""
        self._close(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Closes the bar if the terminal still exists."""
        with suppress(OSError):
            self._close(trainer)

    def _close(self, trainer: L.Trainer) -> None:
        if self._bar is not None:
            self._show_losses(min(epochs_done(trainer), trainer.max_epochs or 0))
            self._bar.close()
            self._bar = None
