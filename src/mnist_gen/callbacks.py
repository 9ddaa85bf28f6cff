"""What to show, to log and to keep. Every curve and picture has the number of finished epochs as its step."""

import json
import re
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from tqdm.auto import tqdm

from mnist_gen import figures
from mnist_gen.checkpoint import CONFIG
from mnist_gen.errors import Interrupted

REDRAW_SECONDS = 10.0  # between two looks at a figure that grows
LAST = Path("checkpoints", "last.ckpt")  # in the run's folder


def run_folder(trainer: L.Trainer) -> Path:
    """Where this run writes."""
    return Path(trainer.default_root_dir)


def epochs_done(trainer: L.Trainer) -> int:
    """Finished epochs, the one that is ending included: the step of every curve and picture."""
    return trainer.current_epoch + (trainer.state.fn == TrainerFn.FITTING)


def how_to_go_on(trainer: L.Trainer) -> str:
    """The command that continues the run, to be typed as it is."""
    argument = f"ckpt={run_folder(trainer) / LAST}"
    if re.search(r"[^\w./=+-]", argument):  # Hydra needs quotes of its own inside the shell's
        argument = f"\"ckpt='{run_folder(trainer) / LAST}'\""
    return f"Go on: python train.py {argument}"


def tensorboard(trainer: L.Trainer) -> Any:
    """The run's SummaryWriter, or None where nothing is logged (or by another process)."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger) and trainer.is_global_zero:
            return logger.experiment
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

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The whole figure, and the file."""
        if trainer.is_global_zero:
            self._draw(trainer)
            (run_folder(trainer) / "history.json").write_text(json.dumps(self.history))

    def _draw(self, trainer: L.Trainer) -> None:
        epochs = [epoch for epoch, _ in self.history[self.together[0]]]
        shown = {tag.partition("/")[2]: [value for _, value in self.history[tag]] for tag in self.together}
        picture = figures.curves(epochs, shown, "Training losses, epoch means", "loss")
        figures.save(picture, run_folder(trainer) / "figures" / "losses.png")
        self._drawn = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors, so that a run resumes inside an epoch."""
        return {"history": self.history, "sums": self._sums, "batches": self._batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes them back."""
        self.history, self._sums, self._batches = state["history"], state["sums"], state["batches"]


class BestCheckpoint(ModelCheckpoint):
    """Keeps `checkpoints/best.ckpt`, judged by a validation metric and never by a GAN's loss."""

    def __init__(self, monitor: str, mode: str) -> None:
        super().__init__(
            filename="best",
            monitor=monitor,
            mode=mode,
            auto_insert_metric_name=False,
            enable_version_counter=False,
            save_on_train_epoch_end=False,
        )

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves if better. Where the metric is not measured (no scorer for the data) the last checkpoint counts."""
        if self.monitor in trainer.callback_metrics:
            super().on_validation_end(trainer, pl_module)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back the best score alone: Lightning removes what the paths of a checkpoint name.

        The file is that of this run's folder, also where the folder has been moved.
        """
        assert self.dirpath is not None
        best, score = str(Path(self.dirpath) / "best.ckpt"), state["best_model_score"]
        kept = {best: score} if score is not None else {}
        names = {"best_model_path": best if kept else "", "kth_best_model_path": best if kept else ""}
        super().load_state_dict(state | {"dirpath": self.dirpath, "best_k_models": kept, **names})


class LastCheckpoint(ModelCheckpoint):
    """Keeps `checkpoints/last.ckpt`, on Ctrl-C after the batch, so that a run resumes exactly.

    The random state goes with it: a resumed run ends as if it had never stopped, bit for bit on a CPU.

    Args:
        every_epochs: how often; after the last epoch in any case.
    """

    def __init__(self, every_epochs: int = 1) -> None:
        super().__init__(filename="last", enable_version_counter=False, save_on_train_epoch_end=True)
        self.every_epochs = every_epochs
        self._stop = False
        self._handlers: dict[int, Any] = {}
        self._random: dict[str, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Puts the random state back, now that all that could have drawn from it is built; listens for Ctrl-C."""
        super().on_train_start(trainer, pl_module)
        if self._random:
            torch.set_rng_state(self._random["cpu"])
        if self._random.get("cuda") and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(self._random["cuda"])
        if threading.current_thread() is threading.main_thread():
            names = (signal.SIGINT, signal.SIGTERM)
            self._handlers = {name: signal.signal(name, self._ask_to_stop) for name in names}

    def _ask_to_stop(self, number: int, frame: object) -> None:
        self._stop = True
        self._stop_listening()  # a second Ctrl-C stops at once

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Between two batches everything is whole: the place to save and stop. An epoch's last batch ends it first."""
        if self._stop and not trainer.is_last_batch:
            trainer.save_checkpoint(run_folder(trainer) / LAST)
            raise Interrupted(f"Interrupted in epoch {epochs_done(trainer)}. {how_to_go_on(trainer)}")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves if it is time, and stops here if that was asked for since the last batch."""
        epoch = epochs_done(trainer)
        if epoch % self.every_epochs == 0 or epoch == trainer.max_epochs or trainer.should_stop or self._stop:
            trainer.save_checkpoint(run_folder(trainer) / LAST)
        if self._stop:
            raise Interrupted(f"Interrupted after epoch {epochs_done(trainer)}. {how_to_go_on(trainer)}")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stops listening."""
        super().on_train_end(trainer, pl_module)
        self._stop_listening()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Stops listening; saves nothing, for the weights may be spoilt."""
        self._stop_listening()

    def _stop_listening(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def state_dict(self) -> dict[str, Any]:
        """ModelCheckpoint's, and the random state of the CPU and of each GPU."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return {**super().state_dict(), "random": {"cpu": torch.get_rng_state(), "cuda": cuda}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Keeps the random state until training starts."""
        super().load_state_dict(state)
        self._random = state["random"]


class EmbedConfig(Callback):
    """Writes the run's configuration into each checkpoint, which then needs nothing else."""

    def __init__(self, config: Any) -> None:
        self.config = config

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Plain values only: the file must load with `weights_only=True`."""
        checkpoint[CONFIG] = self.config


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
        """Leaves the bar where it stopped."""
        self._close(trainer)

    def _close(self, trainer: L.Trainer) -> None:
        if self._bar is not None:
            self._show_losses(min(epochs_done(trainer), trainer.max_epochs or 0))
            self._bar.close()
            self._bar = None
