"""The first picture of a run, so that its user soon sees whether it works."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from mnist_gen import plots
from mnist_gen.runs.tensorboard import run_folder

AFTER = 30  # batches: ten to twenty seconds after the command, on two cores

log = logging.getLogger(__name__)


class FirstPicture(Callback):
    """Writes figures/first.png after `AFTER` batches, and says where it is."""

    def first(self, trainer: L.Trainer, pl_module: L.LightningModule, title: str) -> plots.Figure:
        """What the model makes at present. Called in evaluation mode, without gradients."""
        raise NotImplementedError

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if trainer.fit_loop.epoch_loop.total_batch_idx + 1 == AFTER and trainer.is_global_zero:
            with evaluating(pl_module):
                figure = self.first(trainer, pl_module, f"after {AFTER} batches")
            log.info("%-9s %s", "picture", plots.save(figure, run_folder(trainer) / "figures" / "first.png"))


@contextmanager
def evaluating(module: L.LightningModule) -> Iterator[None]:
    """Inside, the module is in evaluation mode; its parts then return to their own modes."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode
