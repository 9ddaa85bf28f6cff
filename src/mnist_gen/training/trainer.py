"""Lightning's Trainer for a run: its callbacks, and which of Lightning's options work here."""

import os
import warnings
from pathlib import Path
from typing import Any, TypeVar

import lightning as L
import torch
from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import DeviceStatsMonitor, LearningRateMonitor
from lightning.pytorch.profilers import AdvancedProfiler, PyTorchProfiler, SimpleProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy
from omegaconf import DictConfig, OmegaConf

from mnist_gen.errors import UserError
from mnist_gen.runs.config import plain, recorded
from mnist_gen.system import devices
from mnist_gen.training.capture import Capture
from mnist_gen.training.checkpoints import EmbedConfig, WholeCheckpoints
from mnist_gen.training.optimization import CheckLosses
from mnist_gen.training.processes import AveragingStrategy

T = TypeVar("T")

PROFILERS = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}
OURS = "every run sets it; leave it out"
INSTEAD = {  # options that cannot work here
    "fast_dev_run": "it keeps no checkpoint to test; use debug=fast",
    "overfit_batches": "it changes the order of the images; use debug=overfit",
    "val_check_interval": "runs are measured after whole epochs; use trainer.check_val_every_n_epoch",
    "num_nodes": "a run has one machine",
    **dict.fromkeys(("callbacks", "logger", "plugins", "default_root_dir", "enable_checkpointing", "barebones"), OURS),
}
ONE_NETWORK = {  # options that cannot work where networks take turns
    "accumulate_grad_batches": "use data.batch_size",
    "gradient_clip_val": "lower the learning rate",
    "max_steps": "it would count each network's steps; use trainer.max_epochs or trainer.limit_train_batches",
}
OFF = {"accumulate_grad_batches": 1, "max_steps": -1, "num_nodes": 1, "fast_dev_run": False, "overfit_batches": 0}


def make_trainer(cfg: DictConfig, folder: Path, model: L.LightningModule) -> L.Trainer:
    """The Trainer of a run with all its callbacks; refuses options that do not work with this run."""
    options = plain(cfg.trainer)
    takes_turns = not model.automatic_optimization
    for key, remedy in (INSTEAD | (ONE_NETWORK if takes_turns else {})).items():
        if options.get(key) not in (None, OFF.get(key)):
            raise UserError(f"trainer.{key}={options[key]}: does not work with {type(model).__name__}; {remedy}.")
    if options.get("check_val_every_n_epoch", 1) != 1 and hasattr(model, "history"):
        raise UserError("trainer.check_val_every_n_epoch: this model needs a validation after each epoch; set it to 1.")
    if options.get("profiler") is not None:
        options["profiler"] = PROFILERS[options["profiler"]](dirpath=folder, filename="profile")
    if takes_turns and options.get("strategy") == "ddp":
        options["strategy"] = AveragingStrategy()
        warnings.filterwarnings("ignore", message=".*sync_dist")  # each process measures the same samples
    callbacks, loggers = _instances(cfg, "callbacks"), _instances(cfg, "logger")
    if not loggers and any(isinstance(callback, LearningRateMonitor | DeviceStatsMonitor) for callback in callbacks):
        raise UserError("callbacks/extra: lr_monitor and device_stats need a logger.")
    callbacks += [CheckLosses(), EmbedConfig(recorded(cfg))]
    if options.get("capture") and options.get("accumulate_grad_batches", 1) == 1:
        callbacks.append(Capture())
    trainer = plain_trainer(options, folder, logger=loggers, plugins=[WholeCheckpoints()], callbacks=callbacks)
    cores = os.cpu_count() or 1
    if isinstance(trainer.accelerator, CPUAccelerator) and trainer.num_devices > cores:
        raise UserError(f"trainer.devices={trainer.num_devices}: there are {cores} processor cores; set fewer.")
    if takes_turns and not isinstance(trainer.strategy, SingleDeviceStrategy | AveragingStrategy):
        raise UserError(f"{type(model).__name__} trains on several devices with trainer.strategy=ddp only.")
    for callback in callbacks:
        if hasattr(callback, "check"):  # its options, before data are loaded or other models are trained
            callback.check(trainer, model)
    return trainer


def _instances(cfg: DictConfig, part: str) -> list[Any]:
    """What a part of the configuration builds, one object for each key."""
    for name, each in cfg[part].items():
        if not OmegaConf.is_dict(each):
            raise UserError(f"{part}.{name}={each}: names no class; did you mean {part}/{name}={each}?")
        if "_target_" not in each:
            raise UserError(f"{part}.{name}: names no class; set {part}.{name}._target_.")
    return [instantiate(each) for each in cfg[part].values()]


def plain_trainer(options: dict[str, Any], folder: Path, **ours: Any) -> L.Trainer:
    """A Trainer with the given options and those that every run sets."""
    options = {key: value for key, value in options.items() if key != "capture"}  # ours, see `make_trainer`
    if "precision" in options:
        options["precision"] = precision_of(options["precision"], on_cpu=options.get("accelerator") == "cpu")
    try:
        trainer = L.Trainer(default_root_dir=folder, **ours, **options)
    except (MisconfigurationException, ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"trainer: {error}") from None
    if trainer.strategy.root_device.type == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32, as convolutions use anyway
    return trainer


def precision_of(chosen: str, on_cpu: bool) -> str:
    """The precision to train with: `auto` is bf16 on a processor that computes it, else float32.

    Raises:
        UserError: this processor does not compute bf16.
    """
    with_bf16 = on_cpu and devices.computes_bf16()
    if chosen == "bf16-mixed" and on_cpu and not with_bf16:
        raise UserError("trainer.precision=bf16-mixed: this processor has no bf16 instructions; set 32-true, or auto.")
    return ("bf16-mixed" if with_bf16 else "32-true") if chosen == "auto" else chosen


def data_of(trainer: L.Trainer, kind: type[T]) -> T:
    """The run's data module, as the class that it is known to be."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, kind)
    return data


def model_of(module: L.LightningModule, kind: type[T]) -> T:
    """A run's model, as the class that it is known to be."""
    assert isinstance(module, kind)
    return module


def split_of(trainer: L.Trainer) -> str:
    """The images that are being evaluated: `val` or `test`."""
    return "test" if trainer.testing else "val"
