"""The pictures of a run: files in `figures/`, and in each logger that takes pictures."""

import io
import logging
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from PIL import Image

from mnist_gen.networks.inspection import evaluating
from mnist_gen.runs import plots
from mnist_gen.runs.loggers import batches_done, log_picture, run_folder
from mnist_gen.system import files
from mnist_gen.system.screen import shortened

AFTER = 30  # batches: ten to twenty seconds after the command, on two cores

log = logging.getLogger(__name__)


def keep(trainer: L.Trainer, figure: plots.Figure, name: str, tag: str | None = None) -> Path:
    """Writes figures/<name>.png, and shows it as `tag` in loggers, where pictures with one tag follow each other."""
    path, content = run_folder(trainer) / "figures" / f"{name}.png", plots.png(figure)
    files.write(path, content)
    log_picture(trainer, f"pictures/{tag or name}", Image.open(io.BytesIO(content)).convert("RGB"))
    return path


def say_where(picture: Path) -> None:
    """Says where a run's first picture is."""
    log.info("%-9s %s", "picture", shortened(picture))


class FirstPicture(Callback, ABC):
    """Draws figures/first.png after `AFTER` batches, and says where it is: the user soon sees whether a run works."""

    @abstractmethod
    def figure(self, trainer: L.Trainer, pl_module: L.LightningModule, when: str) -> plots.Figure:
        """What the model makes at present. Called in evaluation mode; `when` is for the title."""

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if batches_done(trainer) == AFTER and trainer.is_global_zero:
            with evaluating(pl_module):
                figure = self.figure(trainer, pl_module, f"after {AFTER} batches")
            say_where(keep(trainer, figure, "first"))
