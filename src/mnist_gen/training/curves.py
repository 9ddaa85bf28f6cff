"""A run's curves: in TensorBoard, in history.json and as a plot."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from mnist_gen.data import IMAGE_SIZE
from mnist_gen.runs import plots
from mnist_gen.runs.loggers import batches_done, batches_in_all, callbacks_of, epochs_done, log_metrics, run_folder
from mnist_gen.system import files
from mnist_gen.training.pictures import FirstPicture, say_where

MOST_POINTS = 10**7  # in all curves of a checkpoint
POINTS = 200  # of each training curve in TensorBoard
WRONG = "its curves are not what a run writes"
REDRAW_SECONDS = 180.0  # between two updates of the plot, each of which takes a third of a second


def checked_history(history: Any) -> dict[str, list[list[float]]]:
    """Returns the curves of a checkpoint, by name. Raises ValueError unless they are lists of rows of numbers."""
    of_lists = isinstance(history, dict) and all(isinstance(rows, list) for rows in history.values())
    rows = [row for rows in history.values() for row in rows] if of_lists else []
    numbers = (isinstance(row, list | tuple) and all(isinstance(value, int | float) for value in row) for row in rows)
    if not of_lists or len(rows) > MOST_POINTS or not all(numbers):
        raise ValueError(WRONG)
    return history


class Means:
    """Means over batches of what `training_step` returns. Sums stay on the device until a mean is asked for."""

    def __init__(self, sums: dict[str, Tensor] | None = None, count: int = 0) -> None:
        self.sums, self.count = sums or {}, count

    def add(self, values: Mapping[str, Tensor], count: int = 1) -> None:
        """Adds one batch, or the sums over several."""
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach()
        self.count += count

    def means(self) -> dict[str, float]:
        return {f"train/{name}": (total / self.count).item() for name, total in self.sums.items()}


class Curves(Callback):
    """Logs what `training_step` returns as `train/*`, learning rates and speed as `run/*`, and validation metrics.

    The step is the number of trained batches; each training curve has about `POINTS` points. history.json has the means
    and metrics of each epoch. The losses named in `together` share figures/losses.png and a chart in TensorBoard.
    """

    def __init__(self, together: Sequence[str]) -> None:
        self.together = [f"train/{name}" for name in together]
        self.history: dict[str, list[tuple[int, float]]] = {}  # by metric: epochs and values
        self._epoch, self._point = Means(), Means()  # so far, and since the last point
        self._images, self._seconds = 0, 0.0  # trained in this epoch
        self._new_images, self._since = 0, 0.0  # since the last point
        self._drawn, self._announced = time.monotonic(), False

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._images, self._seconds, self._new_images, self._since = 0, 0.0, 0, time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Adds to the means, and logs a point if it is time."""
        self._point.add(outputs)  # automatic optimization gives {"loss": ...}
        self._new_images += batch[0].numel() // IMAGE_SIZE**2 * trainer.world_size
        if batches_done(trainer) % -(-batches_in_all(trainer) // POINTS) == 0:
            self._log_point(trainer, pl_module)

    def _log_point(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Logs the means since the last point. Reading them waits for the GPU, so that its work is timed."""
        measured = self._point.means() | {"run/epoch": float(epochs_done(trainer))}
        names = getattr(module, "rate_names", ("lr",))
        for name, optimizer in zip(names, trainer.optimizers, strict=False):
            measured[f"run/{name}"] = float(optimizer.param_groups[0]["lr"])
        if self._new_images:  # nothing is trained in a run that was stopped after the epoch's last batch
            now = time.monotonic()
            seconds, self._since = now - self._since, now
            measured["run/images_per_second"] = self._new_images / seconds
            self._images, self._seconds = self._images + self._new_images, self._seconds + seconds
        log_metrics(trainer, measured)
        self._epoch.add(self._point.sums, self._point.count)
        self._point, self._new_images = Means(), 0

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Ends the point, so that no validation counts as training."""
        if self._point.count and trainer.state.fn == TrainerFn.FITTING:
            self._log_point(trainer, pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._point.count:
            self._log_point(trainer, pl_module)
        self._remember(trainer, self._epoch.means())
        self._epoch = Means()
        if trainer.is_global_zero and time.monotonic() - self._drawn > REDRAW_SECONDS:
            self._draw(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        measured = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self._remember(trainer, measured)
        log_metrics(trainer, measured)
        self._since = time.monotonic()

    def _remember(self, trainer: L.Trainer, measured: Mapping[str, float]) -> None:
        for name, value in measured.items():
            self.history.setdefault(name, []).append((epochs_done(trainer), value))

    @property
    def images_per_second(self) -> float | None:
        """The speed in this epoch's training; None if nothing was trained."""
        return self._images / self._seconds if self._seconds else None

    def measured_in(self, epoch: int) -> dict[str, float]:
        """The means and metrics of an epoch."""
        return {name: points[-1][1] for name, points in self.history.items() if points[-1][0] == epoch}

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
        path = plots.save(figure, run_folder(trainer) / "figures" / "losses.png")
        if not self._announced and not any(isinstance(callback, FirstPicture) for callback in callbacks_of(trainer)):
            say_where(path)
        self._drawn, self._announced = time.monotonic(), True

    def state_dict(self) -> dict[str, Any]:
        """The curves, and the sums of an unfinished epoch and point."""
        return {
            "history": self.history,
            "sums": self._epoch.sums,
            "batches": self._epoch.count,
            "point_sums": self._point.sums,
            "point_batches": self._point.count,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores them after checking them: wrong ones would fail hours later, in a plot."""
        history = checked_history(state["history"])
        pairs = all(points and all(len(point) == 2 for point in points) for points in history.values())
        if not pairs or len({len(history.get(tag, ())) for tag in self.together}) > 1:
            raise ValueError(WRONG)
        self.history = {name: [(int(epoch), value) for epoch, value in points] for name, points in history.items()}
        self._epoch = _checked_means(state["sums"], state["batches"])
        self._point = _checked_means(state["point_sums"], state["point_batches"])


def _checked_means(sums: Any, count: Any) -> Means:
    """Means as in a checkpoint, if they are what a run writes."""
    numbers = (isinstance(total, Tensor) and total.ndim == 0 and total.is_floating_point() for total in sums.values())
    if not all(numbers) or not isinstance(count, int) or count < 0 or bool(count) != bool(sums):
        raise ValueError(WRONG)
    return Means(sums, count)
