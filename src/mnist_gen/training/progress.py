"""What a run says: what it is about to do, a bar, and a line per epoch."""

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from mnist_gen.data.mnist import ImageData
from mnist_gen.networks.inspection import HasExamples
from mnist_gen.runs.loggers import batches_done, batches_in_all, callbacks_of, epochs_done, run_folder
from mnist_gen.system.screen import Bar, shortened
from mnist_gen.training.curves import Curves

PRECISIONS = {"32-true": "float32", "bf16-mixed": "bf16"}
ESTIMATE_AFTER = 5.0  # seconds of training

log = logging.getLogger(__name__)


class Progress(Callback):
    """Says where and on what a run trains, shows a bar, and says after each epoch how it went.

    An epoch's line has the means of `shown`, the losses that `training_step` returns, and the validation `metric` with
    its best value so far; `mode` is `min` if a low value is good, or `max`.
    """

    def __init__(self, shown: Sequence[str], metric: str, mode: str) -> None:
        self.shown, self.metric, self.best = shown, metric, min if mode == "min" else max
        self._bar: Bar | None = None
        self._start: float | None = None  # until the run has said how long it will take

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Says what the run is about to do, and opens the bar at the run's present batch."""
        if trainer.is_global_zero:
            for name, value in _facts(trainer, pl_module):
                log.info("%-9s %s", name, value)
            self._start = time.monotonic()
            self._bar = Bar("training", batches_in_all(trainer), "batch", batches_done(trainer))

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any) -> None:
        """Moves the bar. Values leave the device only when it shows them."""
        if self._bar is None:
            return
        self._bar.advance(lambda: in_words({name: outputs[name].item() for name in self.shown if name in outputs}))
        if self._start is not None and time.monotonic() - self._start > ESTIMATE_AFTER:
            self._start = None
            log.info("%-9s about %s of training", "time", duration(self._bar.seconds_left()))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        curves = next((c for c in callbacks_of(trainer) if isinstance(c, Curves)), None)
        if self._bar is None or curves is None:
            return
        epoch, last = epochs_done(trainer), trainer.max_epochs or 0
        measured = curves.measured_in(epoch)
        words = {name: measured[f"train/{name}"] for name in self.shown if f"train/{name}" in measured}
        if self.metric in measured:
            name = self.metric.removeprefix("val/")
            words[self.metric if name in words else name] = measured[self.metric]
            words["best"] = self.best(value for _, value in curves.history[self.metric])
        speed = [] if curves.images_per_second is None else [_speed(curves.images_per_second)]
        log.info("%s", "  ".join([f"epoch {epoch:>{len(str(last))}}/{last}", in_words(words), *speed]))
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
    yield "run", shortened(run_folder(trainer))
    device, precision = trainer.strategy.root_device, PRECISIONS[str(trainer.precision)]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    parts = quantity(torch.get_num_threads(), "thread") if device.type == "cpu" else quantity(1, "device")
    if trainer.world_size > 1:
        parts = quantity(trainer.world_size, "process", "processes")
    yield "device", f"{name}, {parts}, {precision}"
    examples = model.examples() if isinstance(model, HasExamples) else {}
    sizes = [f"{name} {_parameters(network):,}" for name, (network, _) in examples.items()]
    yield "networks", f"{', '.join(sizes or [f'{_parameters(model):,}'])} parameters"
    data = trainer.datamodule  # type: ignore[attr-defined]
    if isinstance(data, ImageData):
        yield "images", data.described()
    count, size = int(trainer.num_training_batches), getattr(trainer.train_dataloader, "batch_size", None)
    of_size = f" of {quantity(size * trainer.world_size, 'image')}" if size else ""
    of_batches = f"{quantity(count, 'batch', 'batches')}{of_size}"
    yield "training", f"{quantity(trainer.max_epochs or 0, 'epoch')} of {of_batches}"


def _parameters(network: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)


def quantity(count: int, one: str, several: str | None = None) -> str:
    """`1 epoch`, `1,000 epochs`."""
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"


def duration(seconds: float) -> str:
    """About how long, in words."""
    if seconds < 90:
        return quantity(max(1, round(seconds)), "second")
    minutes = round(seconds / 60)
    return quantity(minutes, "minute") if minutes < 120 else quantity(round(minutes / 60), "hour")


def in_words(values: Mapping[str, float]) -> str:
    """Names and values, in three significant digits; whole numbers from 100 on."""
    return "  ".join(f"{name} {value:{'.0f' if abs(value) >= 100 else '#.3g'}}" for name, value in values.items())


def _speed(images: float) -> str:
    return f"{images:.0f} images/s" if images < 10_000 else f"{images / 1000:.0f}k images/s"
