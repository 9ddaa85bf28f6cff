"""Writes a run's best and last checkpoints, and the one before it. `runs.checkpoint` lists what they contain."""

import io
import math
import time
from itertools import chain
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.optim import Optimizer

from mnist_gen.errors import UserError, check_choice
from mnist_gen.runs import folders, layout, limits
from mnist_gen.runs.checkpoint import is_whole
from mnist_gen.runs.loggers import callbacks_of, epochs_done, run_folder, tensorboard
from mnist_gen.runs.trust import CONFIG
from mnist_gen.system import files, signals

BEFORE_VALIDATION = {"ready": 1, "started": 1, "processed": 0, "completed": 0}  # in the first validation batch
FUSED = {"step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "sum"}  # state of Adam, AdamW and Adagrad


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints atomically, and keeps the last one's predecessor as `previous.ckpt` if it is whole.

    It removes only files that this process wrote: a foreign checkpoint may name any path for removal.
    """

    def __init__(self) -> None:
        self.written: set[Path] = set()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Serialises in memory first, so that a full disk leaves no half file."""
        path, content = Path(path), io.BytesIO()
        torch.save(checkpoint, content)
        worth_keeping = path.name == layout.LAST.name and (path in self.written or is_whole(path))
        files.write(path, content.getvalue(), keep=path.with_name(layout.PREVIOUS.name) if worth_keeping else None)
        self.written.add(path)

    def remove_checkpoint(self, path: Any) -> None:
        """Lightning's own checkpoint callback calls this, if a user adds it."""
        if Path(path) in self.written:
            Path(path).unlink(missing_ok=True)


def validated(trainer: L.Trainer, model: L.LightningModule) -> list[str]:
    """The metrics that the model and its callbacks say they measure at validation."""
    of_callbacks = (getattr(each, "validation_metrics", lambda _: ())(model) for each in callbacks_of(trainer))
    return [*getattr(model, "validation_metrics", ()), *chain.from_iterable(of_callbacks)]


class BestCheckpoint(Checkpoint):
    """Keeps the checkpoint with the lowest (mode `min`) or highest (`max`) validation metric as `best.ckpt`."""

    def __init__(self, monitor: str, mode: str) -> None:
        self.monitor = monitor
        self.worst = math.inf if mode == "min" else -math.inf
        self.score: float | None = None
        self._path = Path()

    def check(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Checks that the model's or a callback's `validation_metrics` name the metric, if there are any."""
        if measured := [f"val/{name}" for name in validated(trainer, model)]:
            check_choice("callbacks.best.monitor", self.monitor, measured)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._path = run_folder(trainer) / layout.BEST

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves if the metric is better. Without a scorer nothing is measured, and the last checkpoint is tested."""
        measured = [name for name in trainer.callback_metrics if name.startswith("val/")]
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or not measured:
            return
        check_choice("callbacks.best.monitor", self.monitor, measured)
        value = float(trainer.callback_metrics[self.monitor])
        if math.isnan(value):
            value = self.worst
        if self.score is None or (value < self.score if self.worst > 0 else value > self.score):
            self.score = value
            trainer.save_checkpoint(self._path)

    def state_dict(self) -> dict[str, Any]:
        return {"score": self.score}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores the score if the run's folder still has the checkpoint that it belongs to."""
        score = state["score"]
        if score is not None and (not isinstance(score, float) or math.isnan(score) or score == -self.worst):
            raise ValueError("its best score is not what a run writes")
        self.score = score if self._path.is_file() else None


class LastCheckpoint(Checkpoint):
    """Keeps `checkpoints/last.ckpt`. A run resumed from it ends like an uninterrupted one, bit for bit on a CPU.

    It is saved every `every_seconds` inside an epoch (None for never), before the validation of every `every_epochs`th
    epoch, after the last epoch, and when a signal stops the run. It contains the state of the random number generators.
    """

    def __init__(self, every_epochs: int, every_seconds: float | None) -> None:
        self.every_epochs, self.every_seconds = every_epochs, every_seconds
        self._random: dict[str, Any] = {}
        self._saved_at = math.inf
        self._unsaved = False  # a batch has been trained since the last checkpoint
        self.has_trained = False
        self._before_validation = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restores the random state, once everything that draws random numbers is built, and listens for signals."""
        for optimizer in trainer.optimizers:
            _check_state(optimizer)
        if self._random:
            torch.set_rng_state(self._random["cpu"])
        if self._random.get("cuda") and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(self._random["cuda"])
        self._saved_at = time.monotonic()
        signals.listen_alone()

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        folders.keep_folder()
        signals.listen_alone()

    def on_train_batch_start(self, *_: Any) -> None:
        folders.keep_folder()
        signals.hold_batches()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves and stops between two batches, if it is time. After an epoch's last batch the epoch ends first."""
        self._unsaved = self.has_trained = True
        accumulating = (batch_idx + 1) % trainer.accumulate_grad_batches != 0
        if not trainer.is_last_batch and not accumulating and self._is_time(trainer):
            self._save(trainer)
            if signals.asked():
                signals.release_batches()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves before validation, so that a run resumed from here validates first."""
        if trainer.state.fn != TrainerFn.FITTING:
            return
        epoch = epochs_done(trainer)
        if self._unsaved and (epoch % self.every_epochs == 0 or epoch == trainer.max_epochs or self._is_time(trainer)):
            self._before_validation = trainer.is_last_batch
            self._save(trainer)
            self._before_validation = False
        signals.release_batches()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves after an epoch without validation, and after the last one."""
        epoch = epochs_done(trainer)
        last = epoch == trainer.max_epochs or trainer.should_stop
        if last or (self._unsaved and epoch % self.every_epochs == 0) or self._is_time(trainer):
            self._save(trainer)
        signals.release_batches()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves a run that ends inside an epoch."""
        if self._unsaved:
            self._save(trainer)
        signals.release_batches()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Saves nothing, because the weights may be broken."""
        signals.release_batches(answer=False)

    def _is_time(self, trainer: L.Trainer) -> bool:
        """Whether the last checkpoint is old or a signal came. All processes decide together."""
        old = self.every_seconds is not None and time.monotonic() - self._saved_at >= self.every_seconds
        return trainer.strategy.reduce_boolean_decision(old or signals.asked(), all=False)

    def _save(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(run_folder(trainer) / layout.LAST)
        if writer := tensorboard(trainer):
            writer.flush()  # a resumed run does not log it again
        self._saved_at, self._unsaved = time.monotonic(), False

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Makes Lightning believe that validation had begun. Otherwise a resumed run would skip it."""
        if self._before_validation:
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
            progress.update(total=dict(BEFORE_VALIDATION), current=dict(BEFORE_VALIDATION))

    def state_dict(self) -> dict[str, Any]:
        """The random state of the CPU and of each GPU."""
        return {"random": {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._random = state["random"]


def _check_state(optimizer: Optimizer) -> None:
    """Checks sizes and numbers: a fused kernel with a wrong state would write beyond its memory."""
    for weight, state in optimizer.state.items():
        for name in FUSED & state.keys():
            value, shape = state[name], torch.Size() if name == "step" else weight.shape
            if not isinstance(value, Tensor) or value.shape != shape or not value.is_floating_point():
                raise UserError(f"The checkpoint's optimizer has a {name} that does not fit its weight.")
    for group in optimizer.param_groups:
        for name in {"lr", "betas", "eps", "weight_decay"} & group.keys():
            value = group[name].item() if isinstance(group[name], Tensor) else group[name]
            limits.check_value(f"optimizer.{name}", list(value) if isinstance(value, tuple) else value)


class EmbedConfig(Callback):
    """Writes the run's configuration into each checkpoint, so that the checkpoint alone can be loaded."""

    def __init__(self, config: Any) -> None:
        self.config = config

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Adds plain values only: the file must load with `weights_only=True`."""
        checkpoint[CONFIG] = self.config
