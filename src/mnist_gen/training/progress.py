"""A run's progress bar."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import current_process
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from tqdm.auto import tqdm

from mnist_gen.runs.tensorboard import epochs_done


class Progress(Callback):
    """One progress bar for the whole run, with the remaining time and the losses in `shown`, named by `training_step`.

    It is refreshed every `every_seconds` on a terminal, every ten in a file. Values leave the device only then.
    """

    def __init__(self, shown: Sequence[str], every_seconds: float) -> None:
        self.shown, self.every_seconds = shown, every_seconds
        self._bar: tqdm | None = None
        self._outputs: dict[str, Tensor] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Opens the bar at the run's present batch."""
        self._bar = tqdm(
            total=int(trainer.estimated_stepping_batches),
            initial=trainer.fit_loop.epoch_loop.total_batch_idx + 1,
            desc="training",
            unit="batch",
            mininterval=self.every_seconds if sys.stderr.isatty() else 10,
            dynamic_ncols=True,
            disable=not trainer.is_global_zero or current_process().name != "MainProcess",  # or jobs side by side
        )

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any) -> None:
        self._outputs = outputs
        if self._bar is not None and self._bar.update():  # it is time to refresh
            self._show_losses(self._bar, epochs_done(trainer))

    def _show_losses(self, bar: tqdm, epoch: int) -> None:
        values = {name: f"{self._outputs[name].item():.3f}" for name in self.shown if name in self._outputs}
        bar.set_postfix({"epoch": epoch, **values}, refresh=False)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._bar is not None:
            self._show_losses(self._bar, min(epochs_done(trainer), trainer.max_epochs or 0))
            self._bar.close()
            self._bar = None

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        with suppress(OSError):  # the terminal may be gone
            self.on_train_end(trainer, pl_module)
