"""Checks the configuration inside a checkpoint: its classes, paths and numbers. Nothing in it is trusted."""

import copy
import logging
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig, OmegaConf
from torch import nn

from mnist_gen.errors import UserError
from mnist_gen.runs import limits
from mnist_gen.runs.config import PLACES

CONFIG = "config"  # the checkpoint's key for the run's configuration
OURS, OPTIMIZERS, CALLBACKS = "mnist_gen.", "torch.optim.", "lightning.pytorch.callbacks."
PLAIN = tuple(  # modules whose classes have no weights
    f"{OURS}{name}"
    for name in ("networks.transformer", "training.adversarial", "data.renderings", "translation.strategy")
)
HARMLESS = (  # callbacks of Lightning that write no files
    *("DeviceStatsMonitor", "EarlyStopping", "EMAWeightAveraging", "LearningRateMonitor", "ModelSummary"),
    *("RichModelSummary", "RichProgressBar", "StochasticWeightAveraging", "Timer", "TQDMProgressBar"),
)
KINDS = {"model": L.LightningModule, "data": L.LightningDataModule}

log = logging.getLogger(__name__)


def configuration(content: Mapping[str, Any], path: str | Path, machine: Mapping[str, Any] | None = None) -> DictConfig:
    """The configuration of the run that wrote the checkpoint, with every part checked.

    Args:
        content: the checkpoint's content.
        path: of the checkpoint, for messages.
        machine: dotted keys and values of this machine's paths, which replace the checkpoint's.

    Raises:
        UserError: it would run foreign code, or holds an impossible value.
    """
    config = copy.deepcopy(content[CONFIG])
    for section in (*KINDS, "callbacks", "trainer"):
        if not isinstance(config.get(section), dict):
            raise UserError(f"ckpt={path}: refused, its configuration has no {section}.")
    _place(config, machine or {})
    for section in config:
        _check_section(config, section, path)
    _check_numbers(config, path)
    cfg = OmegaConf.create(config)  # exactly what was checked
    assert isinstance(cfg, DictConfig)
    return cfg


def model_configuration(content: Mapping[str, Any], path: str | Path) -> DictConfig:
    """As `configuration`, for the model only. The other parts are ignored.

    Raises:
        UserError: as `configuration`, or there is no model.
    """
    model = {"model": content[CONFIG].get("model")}
    _check_section(model, "model", path)
    _check_numbers(model, path)
    return OmegaConf.create(model).model


def _place(config: dict[str, Any], machine: Mapping[str, Any]) -> None:
    """Sets this machine's paths, even if the configuration has none, and its scorer wherever there is one."""
    for key in PLACES:
        part, _, name = key.rpartition(".")
        node = config.get(part) if part else config
        if isinstance(node, dict):
            node[name] = machine.get(key)
    for node in (config, *config["callbacks"].values()):
        if isinstance(node, dict) and "scorer" in node and "scorer" in machine:
            node["scorer"] = machine["scorer"]


def _check_section(config: Mapping[str, Any], section: str, path: str | Path) -> None:
    """Checks each class of a section. References to this machine's environment are refused."""
    if section in KINDS and not (isinstance(config[section], dict) and "_target_" in config[section]):
        raise UserError(f"ckpt={path}: refused, its configuration has no {section}.")
    for key, value in _scalars(config[section], section):
        parent, _, name = key.rpartition(".")
        if "_args_" in key.split("."):  # positional options would escape the check of paths
            raise UserError(f"ckpt={path}: refused, its configuration has {key}: only named options are allowed.")
        if isinstance(value, str) and "${" in value:  # runs write resolved values
            what = f"its configuration would look up {key}={value} on this machine"
            raise UserError(f"ckpt={path}: refused, {what}; if an older version wrote it, train again.")
        if name == "_target_":
            found = _found(value)
            if found is None and str(value).startswith(OURS):
                raise UserError(f"ckpt={path}: refused, this version has no class {key}={value}; train again.")
            if found is None or not _belongs(found, parent):
                raise UserError(f"ckpt={path}: refused, its configuration would run {key}={value}, which is not ours.")
        if name == "_partial_" and (parent in KINDS or parent.startswith("callbacks.")):
            raise UserError(f"ckpt={path}: refused, its configuration does not build {parent}.")


def _found(target: Any) -> type | None:
    """The class with this name; None if it is no class, or defined elsewhere."""
    if not isinstance(target, str) or not target.startswith((OURS, OPTIMIZERS, CALLBACKS)):
        return None
    module, _, name = target.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        return None
    if not isinstance(found, type):
        return None  # such as a function, or a module that ours imports
    return found if f"{found.__module__}.".startswith((OURS, OPTIMIZERS, CALLBACKS)) else None


def _belongs(found: type, key: str) -> bool:
    """Whether a class may stand under a key: a module, an optimizer, our callback or a harmless one."""
    section, _, inner = key.partition(".")
    if section in KINDS and not inner:
        return issubclass(found, KINDS[section])
    if section == "callbacks":
        ours = found.__module__.startswith(OURS)
        return issubclass(found, Callback) and (ours or found.__name__ in HARMLESS)
    return issubclass(found, nn.Module | torch.optim.Optimizer) or found.__module__ in PLAIN


def _check_numbers(config: Mapping[str, Any], path: str | Path) -> None:
    try:
        limits.check(config, apart=PLACES)
    except UserError as error:
        raise UserError(f"ckpt={path}: refused, its configuration says {error}") from None


def _scalars(config: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in nested dicts and lists, with its dotted key."""
    if isinstance(config, dict | list):
        items = config.items() if isinstance(config, dict) else enumerate(config)
        for name, value in items:
            yield from _scalars(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, config
