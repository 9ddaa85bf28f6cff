"""A run's curves: in TensorBoard, in history.json and as a plot."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mnist_gen import plots
from mnist_gen.runs.tensorboard import batches_done, epochs_done, run_folder, tensorboard
from mnist_gen.system import files

MOST_POINTS = 10**7  # in all curves of a checkpoint
POINTS = 200  # of each training curve in TensorBoard
REDRAW_SECONDS = 10.0  # between two updates of the plot


def checked_history(history: Any) -> dict[str, list[list[float]]]:
    """Returns the curves of a checkpoint, by name. Raises ValueError unless they are lists of rows of numbers."""
    of_lists = isinstance(history, dict) and all(isinstance(rows, list) for rows in history.values())
    rows = [row for rows in history.values() for row in rows] if of_lists else []
    numbers = (isinstance(row, list | tuple) and all(isinstance(value, int | float) for value in row) for row in rows)
    if not of_lists or len(rows) > MOST_POINTS or not all(numbers):
        raise ValueError("its curves are not what a run writes")
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


class Speed:
    """Images per second of training, without what happens between batches."""

    def __init__(self) -> None:
        self.images, self.seconds = 0, 0.0

    def __float__(self) -> float:
        return self.images / self.seconds if self.seconds else 0.0


class Curves(Callback):
    """Logs the means of what `training_step` returns as `train/*`, learning rates, speed, and validation metrics.

    The step is the number of trained batches; each training curve has about `POINTS` points. history.json has the means
    and metrics of each epoch. The losses named in `together` share figures/losses.png and a chart among TensorBoard's
    custom scalars.
    """

    def __init__(self, together: Sequence[str]) -> None:
        self.together = [f"train/{name}" for name in together]
        self.history: dict[str, list[tuple[int, float]]] = {}  # by metric: epochs and values
        self.speed = Speed()  # of this epoch
        self._epoch, self._point, self._recent = Means(), Means(), Speed()  # so far, and since the last point
        self._since, self._drawn = 0.0, time.monotonic()

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if writer := tensorboard(trainer):
            title = " and ".join(tag.partition("/")[2] for tag in self.together)
            writer.add_custom_scalars({"training": {title: ["Multiline", self.together]}})

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.speed = Speed()

    def on_train_batch_start(self, *_: Any) -> None:
        self._since = time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Adds to the means, and logs a point if it is time."""
        seconds, images = time.monotonic() - self._since, len(batch[0]) * trainer.world_size
        for speed in (self.speed, self._recent):
            speed.images, speed.seconds = speed.images + images, speed.seconds + seconds
        self._point.add(outputs)  # automatic optimization gives {"loss": ...}
        if batches_done(trainer) % max(1, int(trainer.estimated_stepping_batches) // POINTS) == 0:
            self._log_point(trainer, pl_module)

    def _log_point(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        names = getattr(module, "optimizer_names", ("",))
        rates = {
            f"train/lr_{name}".rstrip("_"): float(optimizer.param_groups[0]["lr"])
            for name, optimizer in zip(names, trainer.optimizers, strict=False)
        }
        more = {"train/images_per_second": float(self._recent), "train/epoch": float(epochs_done(trainer))}
        _log(trainer, self._point.means() | rates | more)
        self._epoch.add(self._point.sums, self._point.count)
        self._point, self._recent = Means(), Speed()

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
        _log(trainer, measured)

    def _remember(self, trainer: L.Trainer, measured: Mapping[str, float]) -> None:
        for name, value in measured.items():
            self.history.setdefault(name, []).append((epochs_done(trainer), value))

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
        plots.save(figure, run_folder(trainer) / "figures" / "losses.png")
        self._drawn = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """The curves, and the sums of an unfinished epoch and point."""
        epoch, point = self._epoch, self._point
        return {
            **{"history": self.history, "sums": epoch.sums, "batches": epoch.count},
            **{"point_sums": point.sums, "point_batches": point.count},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores them after checking them: wrong ones would fail hours later, in a plot."""
        history = checked_history(state["history"])
        totals = (*state["sums"].values(), *state["point_sums"].values())
        pairs = all(len(point) == 2 for points in history.values() for point in points)
        lengths = {len(history.get(tag, ())) for tag in self.together}
        scalars = all(isinstance(total, Tensor) and total.numel() == 1 for total in totals)
        if not pairs or len(lengths) > 1 or not scalars:
            raise ValueError("its curves are not what a run writes")
        self.history = {name: [(int(epoch), value) for epoch, value in points] for name, points in history.items()}
        self._epoch = Means(state["sums"], int(state["batches"]))
        self._point = Means(state["point_sums"], int(state["point_batches"]))


def _log(trainer: L.Trainer, measured: Mapping[str, float]) -> None:
    for logger in trainer.loggers:
        logger.log_metrics(dict(measured), step=batches_done(trainer))
