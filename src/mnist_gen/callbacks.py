"""What to show and to log. Every curve and picture has the number of finished epochs as its step."""

import json
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from tqdm.auto import tqdm

from mnist_gen import figures, files

MOST_POINTS = 10**7  # of all curves
REDRAW_SECONDS = 10.0  # between two looks at a figure that grows

log = logging.getLogger(__name__)


def run_folder(trainer: L.Trainer) -> Path:
    """Where this run writes."""
    return Path(trainer.default_root_dir)


def epochs_done(trainer: L.Trainer) -> int:
    """Finished epochs, the one that is ending included: the step of every curve and picture."""
    return trainer.current_epoch + (trainer.state.fn == TrainerFn.FITTING)


def checked_history(history: Any) -> dict[str, list[list[float]]]:
    """The curves of a checkpoint, by name, each a list of rows of numbers.

    Raises:
        ValueError: they are something else, or too many.
    """
    if not isinstance(history, dict) or not all(isinstance(rows, list) for rows in history.values()):
        raise ValueError("its curves are not what a run writes")
    rows = [row for rows in history.values() for row in rows]
    numbers = (isinstance(row, list | tuple) and all(isinstance(value, int | float) for value in row) for row in rows)
    if len(rows) > MOST_POINTS or not all(numbers):
        raise ValueError("its curves are not what a run writes")
    return history


class Events(TensorBoardLogger):
    """TensorBoard's events of a run, which goes on without them if the disk is full."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, name="", version="", default_hp_metric=False)
        self.full = False

    def attempt(self, action: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Calls a method of the writer; its first failure is said, and the last one it is asked to do."""
        if self.full:
            return None
        try:
            return action(*arguments, **options)
        except OSError as error:
            self.full = True
            log.warning("%s: TensorBoard's events end here (%s).", self.log_dir, error.strerror or error)
            return None

    def log_metrics(self, *arguments: Any, **options: Any) -> None:
        self.attempt(super().log_metrics, *arguments, **options)

    def finalize(self, status: str) -> None:
        self.attempt(super().finalize, status)


class Writer:
    """A SummaryWriter whose methods are attempted."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return partial(self._events.attempt, getattr(self._events.experiment, name))


def tensorboard(trainer: L.Trainer) -> Any:
    """The run's SummaryWriter, or None where nothing is logged (or by another process)."""
    for logger in trainer.loggers:
        if isinstance(logger, Events) and trainer.is_global_zero:
            return Writer(logger)
    return None


class Curves(Callback):
    """Averages what `training_step` returns over each epoch: to the logger as `train/*`, and into a figure.

    Logs the figures of each validation too, and leaves all of them in history.json.

    Args:
        together: names drawn in one chart, here and in TensorBoard's custom scalars.
    """

    def __init__(self, together: Sequence[str]) -> None:
        self.together = [f"train/{name}" for name in together]
        self.history: dict[str, list[tuple[int, float]]] = {}  # of each figure the epochs and values
        self._sums: dict[str, Tensor] = {}
        self._batches = 0
        self._drawn = time.monotonic()

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Lays the chart out."""
        if writer := tensorboard(trainer):
            title = " and ".join(tag.partition("/")[2] for tag in self.together)
            writer.add_custom_scalars({"training": {title: ["Multiline", self.together]}})

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Sums on the device."""
        for name, value in outputs.items():  # automatic optimization gives {"loss": ...}
            self._sums[name] = self._sums.get(name, 0) + value.detach()
        self._batches += 1

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Logs and draws the epoch's means."""
        self._log(trainer, {f"train/{name}": (total / self._batches).item() for name, total in self._sums.items()})
        self._sums, self._batches = {}, 0
        if trainer.is_global_zero and time.monotonic() - self._drawn > REDRAW_SECONDS:
            self._draw(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Logs what validation measured, on the same axis."""
        self._log(trainer, {name: float(value) for name, value in trainer.callback_metrics.items()})

    def _log(self, trainer: L.Trainer, measured: Mapping[str, float]) -> None:
        for name, value in measured.items():
            self.history.setdefault(name, []).append((epochs_done(trainer), value))
        for logger in trainer.loggers:
            logger.log_metrics(dict(measured), step=epochs_done(trainer))

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The whole figure, and the file: also of a run that goes on with nothing left to learn."""
        if trainer.is_global_zero:
            self._draw(trainer)
            files.write(run_folder(trainer) / "history.json", json.dumps(self.history))

    def _draw(self, trainer: L.Trainer) -> None:
        if self.together[0] not in self.history:
            return
        epochs = [epoch for epoch, _ in self.history[self.together[0]]]
        shown = {tag.partition("/")[2]: [value for _, value in self.history[tag]] for tag in self.together}
        picture = figures.curves(epochs, shown, "Training losses, epoch means", "loss")
        figures.save(picture, run_folder(trainer) / "figures" / "losses.png")
        self._drawn = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors, so that a run resumes inside an epoch."""
        return {"history": self.history, "sums": self._sums, "batches": self._batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes them back, if they are what a run writes: a picture of the rest would fail hours later."""
        history, sums, batches = checked_history(state["history"]), state["sums"], state["batches"]
        if not all(len(point) == 2 for points in history.values() for point in points):
            raise ValueError("its curves are not what a run writes")
        if len({len(history.get(tag, ())) for tag in self.together}) > 1:
            raise ValueError("its curves have different lengths")
        if not all(isinstance(total, Tensor) and total.numel() == 1 for total in sums.values()):
            raise ValueError("its sums of an epoch are not what a run writes")
        self.history = {name: [(int(epoch), value) for epoch, value in points] for name, points in history.items()}
        self._sums, self._batches = sums, int(batches)


class Progress(Callback):
    """One bar for the whole run, with the losses and the time left.

    Args:
        shown: names of what `training_step` returns.
        every_seconds: between two refreshes on a terminal; into a file, ten seconds. Only then are values fetched
            from the device.
    """

    def __init__(self, shown: Sequence[str], every_seconds: float) -> None:
        self.shown, self.every_seconds = list(shown), every_seconds
        self._bar: tqdm | None = None
        self._outputs: dict[str, Tensor] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Opens the bar where the run stands."""
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
        """Counts the batch; `update` says when it is time to refresh."""
        self._outputs = outputs
        if self._bar is not None and self._bar.update():
            self._show_losses(epochs_done(trainer))

    def _show_losses(self, epoch: int) -> None:
        assert self._bar is not None
        values = {name: f"{self._outputs[name].item():.3f}" for name in self.shown if name in self._outputs}
        self._bar.set_postfix({"epoch": epoch, **values}, refresh=False)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leaves the finished bar on the screen."""
        self._close(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Leaves the bar where it stopped, if the terminal is still there."""
        with suppress(OSError):
            self._close(trainer)

    def _close(self, trainer: L.Trainer) -> None:
        if self._bar is not None:
            self._show_losses(min(epochs_done(trainer), trainer.max_epochs or 0))
            self._bar.close()
            self._bar = None
