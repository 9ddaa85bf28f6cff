"""A run's curves: in TensorBoard, in history.json and as a plot."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mnist_gen import plots
from mnist_gen.runs.tensorboard import epochs_done, run_folder, tensorboard
from mnist_gen.system import files

MOST_POINTS = 10**7  # in all curves of a checkpoint
REDRAW_SECONDS = 10.0  # between two updates of the plot


def checked_history(history: Any) -> dict[str, list[list[float]]]:
    """Returns the curves of a checkpoint, by name. Raises ValueError unless they are lists of rows of numbers."""
    of_lists = isinstance(history, dict) and all(isinstance(rows, list) for rows in history.values())
    rows = [row for rows in history.values() for row in rows] if of_lists else []
    numbers = (isinstance(row, list | tuple) and all(isinstance(value, int | float) for value in row) for row in rows)
    if not of_lists or len(rows) > MOST_POINTS or not all(numbers):
        raise ValueError("its curves are not what a run writes")
    return history


class Curves(Callback):
    """Logs and plots the epoch means of what `training_step` returns as `train/*`, and logs validation metrics.

    Leaves all of them in history.json. The losses named in `together` share figures/losses.png and a chart among
    TensorBoard's custom scalars.
    """

    def __init__(self, together: Sequence[str]) -> None:
        self.together = [f"train/{name}" for name in together]
        self.history: dict[str, list[tuple[int, float]]] = {}  # by metric: epochs and values
        self._sums: dict[str, Tensor] = {}
        self._batches = 0
        self._drawn = time.monotonic()

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if writer := tensorboard(trainer):
            title = " and ".join(tag.partition("/")[2] for tag in self.together)
            writer.add_custom_scalars({"training": {title: ["Multiline", self.together]}})

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any) -> None:
        """Sums on the device."""
        for name, value in outputs.items():  # automatic optimization gives {"loss": ...}
            self._sums[name] = self._sums.get(name, 0) + value.detach()
        self._batches += 1

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._log(trainer, {f"train/{name}": (total / self._batches).item() for name, total in self._sums.items()})
        self._sums, self._batches = {}, 0
        if trainer.is_global_zero and time.monotonic() - self._drawn > REDRAW_SECONDS:
            self._draw(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._log(trainer, {name: float(value) for name, value in trainer.callback_metrics.items()})

    def _log(self, trainer: L.Trainer, measured: Mapping[str, float]) -> None:
        for name, value in measured.items():
            self.history.setdefault(name, []).append((epochs_done(trainer), value))
        for logger in trainer.loggers:
            logger.log_metrics(dict(measured), step=epochs_done(trainer))

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the plot and the file, also if a resumed run has nothing left to train."""
        if trainer.is_global_zero:
            self._draw(trainer)
            files.write(run_folder(trainer) / "history.json", json.dumps(self.history))

    def _draw(self, trainer: L.Trainer) -> None:
        if self.together[0] not in self.history:
            return
        epochs = [epoch for epoch, _ in self.history[self.together[0]]]
        shown = {tag.partition("/")[2]: [value for _, value in self.history[tag]] for tag in self.together}
        figure = plots.curves(epochs, shown, "Training losses, epoch means", "loss")
        plots.save(figure, run_folder(trainer) / "figures" / "losses.png")
        self._drawn = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """The curves, and the sums of an unfinished epoch."""
        return {"history": self.history, "sums": self._sums, "batches": self._batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores them after checking them: wrong ones would fail hours later, in a plot."""
        history, sums = checked_history(state["history"]), state["sums"]
        pairs = all(len(point) == 2 for points in history.values() for point in points)
        lengths = {len(history.get(tag, ())) for tag in self.together}
        scalars = all(isinstance(total, Tensor) and total.numel() == 1 for total in sums.values())
        if not pairs or len(lengths) > 1 or not scalars:
            raise ValueError("its curves are not what a run writes")
        self.history = {name: [(int(epoch), value) for epoch, value in points] for name, points in history.items()}
        self._sums, self._batches = sums, int(state["batches"])
