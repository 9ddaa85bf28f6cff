"""Figures of a translator."""

import lightning as L
import torch
from torch import Tensor

from mnist_gen.data.mnist import to_images
from mnist_gen.data.pairs import ImagePairs, first_of_each
from mnist_gen.runs import plots
from mnist_gen.runs.loggers import epochs_done
from mnist_gen.training.pictures import FirstPicture, keep
from mnist_gen.training.trainer import data_of, model_of
from mnist_gen.translation.translation import Translation


class DrawTranslation(FirstPicture):
    """Draws a test image of each digit, its translation and its counterpart, in three rows."""

    def figure(self, trainer: L.Trainer, pl_module: L.LightningModule, when: str) -> plots.Figure:
        rows, data = _rows(trainer, pl_module), data_of(trainer, ImagePairs)
        names = ("input", "output", "truth" if data.true_counterparts else "same class")
        digits = [str(digit) for digit in data.test.labels.unique().tolist()]
        return plots.grid(rows, len(rows) // 3, f"Test images translated, {when}", names, digits)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            keep(trainer, self.figure(trainer, pl_module, f"epoch {epochs_done(trainer)}"), "translation")

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the rows as translation.png, and the digits read in the translations as becomes.png."""
        if not trainer.is_global_zero:
            return
        keep(trainer, self.figure(trainer, pl_module, "tested checkpoint"), "translation")
        title = "Digits read in translated test images,\nin % of each input digit"
        counts = model_of(pl_module, Translation).confusion
        keep(trainer, plots.confusion(counts, title, "input digit"), "becomes")


def _rows(trainer: L.Trainer, module: L.LightningModule) -> Tensor:
    """Inputs, outputs and targets, one of each digit: by default (30, 1, 32, 32)."""
    data, model = data_of(trainer, ImagePairs), model_of(module, Translation)
    pairs = data.counterparts(first_of_each(data.test))
    inputs, targets = (to_images(part.images).to(model.device) for part in (pairs.a, pairs.b))
    return torch.cat([inputs, model.translate(inputs), targets])
