"""A run's loggers: what they show, and at which step."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.trainer.states import TrainerFn
from numpy import asarray
from PIL.Image import Image

from mnist_gen.errors import UserError
from mnist_gen.runs.config import one_line

log = logging.getLogger(__name__)


def run_folder(trainer: L.Trainer) -> Path:
    """Where this run writes."""
    return Path(trainer.default_root_dir)


def callbacks_of(trainer: L.Trainer) -> list[Callback]:
    """All callbacks; Lightning's annotations leave them out."""
    return trainer.callbacks  # type: ignore[attr-defined]


def epochs_done(trainer: L.Trainer) -> int:
    """The number of finished epochs, including one that is ending."""
    return trainer.current_epoch + (trainer.state.fn == TrainerFn.FITTING)


def batches_done(trainer: L.Trainer) -> int:
    """The number of trained batches: the step of every curve and picture in TensorBoard."""
    return trainer.fit_loop.epoch_loop.total_batch_idx + 1


def batches_in_all(trainer: L.Trainer) -> int:
    """The number of batches of the whole run."""
    return int((trainer.max_epochs or 0) * trainer.num_training_batches)


class Events(TensorBoardLogger):
    """Writes TensorBoard's events. If the disk is full, the run continues without them."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder, name="", version="", default_hp_metric=False)
        self.full = False

    def attempt(self, action: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Calls a method of the writer. The first failure logs a warning, and later calls do nothing."""
        try:
            return None if self.full else action(*arguments, **options)
        except OSError as error:
            self.full = True
            log.warning("%s: TensorBoard's events end here (%s).", self.log_dir, error.strerror or error)

    def log_metrics(self, *arguments: Any, **options: Any) -> None:
        self.attempt(super().log_metrics, *arguments, **options)

    def log_image(self, key: str, images: list[Image], step: int) -> None:
        """As Lightning's WandbLogger has it."""
        for image in images:
            self.attempt(self.experiment.add_image, key, asarray(image), step, dataformats="HWC")

    def finalize(self, status: str) -> None:
        self.attempt(super().finalize, status)


def log_metrics(trainer: L.Trainer, metrics: Mapping[str, float]) -> None:
    """Logs metrics at the run's present batch."""
    for logger in trainer.loggers:
        logger.log_metrics(dict(metrics), step=batches_done(trainer))


def log_picture(trainer: L.Trainer, tag: str, picture: Image) -> None:
    """Shows a picture in each logger that holds pictures; those with one tag follow each other."""
    for logger in trainer.loggers:
        if isinstance(logger, MLFlowLogger):
            logger.experiment.log_image(logger.run_id, picture, key=tag, step=batches_done(trainer))
        elif hasattr(logger, "log_image"):
            logger.log_image(key=tag, images=[picture], step=batches_done(trainer))
        elif isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(tag, asarray(picture), batches_done(trainer), dataformats="HWC")


@contextmanager
def ending(loggers: Sequence[Logger]) -> Iterator[None]:
    """Starts the loggers' runs, and ends them at the end, so that the next run of this command gets its own.

    Raises:
        UserError: a logger does not start.
    """
    status = "failed"
    started = []
    try:
        for logger in loggers:
            _start(logger)
            started.append(logger)
        yield
        status = "success"
    finally:
        for logger in started:
            with suppress(OSError):  # a full disk has been reported
                logger.finalize(status)
                if isinstance(logger, WandbLogger):
                    logger.experiment.finish()


def _start(logger: Any) -> None:
    """Asks one of Lightning's loggers for its experiment, with which it starts. An own logger starts when it logs."""
    if not type(logger).__module__.startswith("lightning."):
        return
    try:
        _ = logger.experiment
    except OSError:
        raise
    except Exception as error:  # each has its own: no key, no server
        raise UserError(f"logger: {type(logger).__name__} does not start. {one_line(error)}") from error


class Writer:
    """A SummaryWriter whose methods go through `Events.attempt`."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return partial(self._events.attempt, getattr(self._events.experiment, name))


def tensorboard(trainer: L.Trainer) -> Any:
    """The run's SummaryWriter; None in processes that do not log."""
    events = [logger for logger in trainer.loggers if isinstance(logger, Events)]
    return Writer(events[0]) if events and trainer.is_global_zero else None
