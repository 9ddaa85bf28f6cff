"""What a run says: what it is about to do, a bar, and a line per epoch."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from mnist_gen.data.batches import Batches
from mnist_gen.data.mnist import ImageData
from mnist_gen.runs.tensorboard import batches_done, epochs_done, run_folder
from mnist_gen.system.screen import Bar
from mnist_gen.training.checkpoints import BestCheckpoint
from mnist_gen.training.curves import Curves
from mnist_gen.training.trainer import data_of

PRECISIONS = {"32-true": "float32", "bf16-mixed": "bf16"}

FORETOLD_SECONDS = 5.0  # of training, before a run says how long it will take

log = logging.getLogger(__name__)


class Progress(Callback):
    """Says where and on what a run trains, shows a bar, and says after each epoch how it went.

    An epoch's line has the means of `shown`, the losses that `training_step` returns, and the validation `metric`.
    """

    def __init__(self, shown: Sequence[str], metric: str) -> None:
        self.shown, self.metric = shown, metric
        self._bar: Bar | None = None
        self._start: float | None = None  # until the run has said how long it will take

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Says what the run is about to do, and opens the bar at the run's present batch."""
        if trainer.is_global_zero:
            for name, value in _facts(trainer, pl_module):
                log.info("%-9s %s", name, value)
            self._start = time.monotonic()
            self._bar = Bar("training", int(trainer.estimated_stepping_batches), "batch", batches_done(trainer))

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any) -> None:
        """Moves the bar. Values leave the device only when it shows them."""
        if self._bar is None:
            return
        self._bar.advance(lambda: _in_words({name: outputs[name].item() for name in self.shown}))
        if self._start is not None and time.monotonic() - self._start > FORETOLD_SECONDS:
            self._start = None
            log.info("%-9s about %s", "time", _minutes(self._bar.seconds_left()))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        curves = next((c for c in trainer.callbacks if isinstance(c, Curves)), None)  # type: ignore[attr-defined]
        if self._bar is None or curves is None:
            return
        epoch, last = epochs_done(trainer), trainer.max_epochs or 0
        measured = curves.measured_in(epoch)
        wanted = [name for name in (*(f"train/{name}" for name in self.shown), self.metric) if name in measured]
        words = _in_words({name.partition("/")[2]: measured[name] for name in wanted} | _best(trainer))
        log.info("epoch %*d/%d  %s%.0f images/s", len(str(last)), epoch, last, words, curves.speed)
        self._bar.said()

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            self._bar = Bar("test", int(sum(trainer.num_test_batches)), "batch")

    def on_test_batch_end(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.advance()

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._close()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        with suppress(OSError):  # the terminal may be gone
            self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _facts(trainer: L.Trainer, model: L.LightningModule) -> Iterator[tuple[str, str]]:
    """What a user wants to know before waiting."""
    folder, here = run_folder(trainer).absolute(), Path.cwd()
    yield "run", str(folder.relative_to(here) if folder.is_relative_to(here) else folder)
    device, precision = trainer.strategy.root_device, PRECISIONS[str(trainer.precision)]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    threads = f"{torch.get_num_threads()} threads" if device.type == "cpu" else "1 device"
    yield "device", f"{name}, {threads if trainer.world_size == 1 else f'{trainer.world_size} processes'}, {precision}"
    sizes = {name: _parameters(network) for name, network in model.named_children()}
    yield "networks", ", ".join(f"{name} {size:,}" for name, size in sizes.items() if size) + " parameters"
    batches = trainer.train_dataloader
    assert isinstance(batches, Batches)
    data = data_of(trainer, ImageData)
    yield "images", f"{len(data.train):,} of {data.dataset}"
    count = int(trainer.num_training_batches)
    yield "training", f"{trainer.max_epochs} epochs of {count:,} batches of {batches.batch_size} images"


def _parameters(network: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)


def _best(trainer: L.Trainer) -> dict[str, float]:
    """The best validation score so far."""
    score = next((each.score for each in trainer.checkpoint_callbacks if isinstance(each, BestCheckpoint)), None)
    return {} if score is None else {"best": score}


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 90 else f"{seconds / 60:.0f} minutes"


def _in_words(values: Mapping[str, float]) -> str:
    return "".join(f"{name} {value:#.4g}  " for name, value in values.items())
