"""The configuration inside a checkpoint, of which nothing is trusted: neither classes nor paths nor numbers."""

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
HARMLESS = (  # callbacks of Lightning that write no file of their own
    *("DeviceStatsMonitor", "EarlyStopping", "EMAWeightAveraging", "LearningRateMonitor", "ModelSummary"),
    *("RichModelSummary", "RichProgressBar", "StochasticWeightAveraging", "Timer", "TQDMProgressBar"),
)
KINDS = {"model": L.LightningModule, "data": L.LightningDataModule}

log = logging.getLogger(__name__)


def configuration(content: Mapping[str, Any], path: str | Path, machine: Mapping[str, Any] | None = None) -> DictConfig:
    """The configuration the checkpoint was trained under, checked in all its parts.

    Args:
        content: what `read` gave.
        path: where from, for messages.
        machine: dotted keys and values of this machine's places, which take the place of the checkpoint's.

    Raises:
        UserError: it would run foreign code, or says something impossible.
    """
    config = copy.deepcopy(content[CONFIG])
    for section in (*KINDS, "callbacks", "trainer"):
        if not isinstance(config.get(section), dict):
            raise UserError(f"ckpt={path}: refused, its configuration has no {section}.")
    _place(config, machine or {})
    for section in config:
        _check_section(config, section, path)
    _check_numbers(config, path)
    cfg = OmegaConf.create(config)  # what runs is what was looked at
    assert isinstance(cfg, DictConfig)
    return cfg


def model_configuration(content: Mapping[str, Any], path: str | Path) -> DictConfig:
    """As `configuration`, of the model alone: the rest is not looked at.

    Raises:
        UserError: as `configuration`, or there is no model.
    """
    model = {"model": content[CONFIG].get("model")}
    _check_section(model, "model", path)
    _check_numbers(model, path)
    return OmegaConf.create(model).model


def _place(config: dict[str, Any], machine: Mapping[str, Any]) -> None:
    """Sets this machine's places, whether or not the configuration names any, and its scorer wherever there is one."""
    for key in PLACES:
        part, _, name = key.rpartition(".")
        node = config.get(part) if part else config
        if isinstance(node, dict):
            node[name] = machine.get(key)
    for node in (config, *config["callbacks"].values()):
        if isinstance(node, dict) and "scorer" in node and "scorer" in machine:
            node["scorer"] = machine["scorer"]


def _check_section(config: Mapping[str, Any], section: str, path: str | Path) -> None:
    """Each class of a section against what may stand there; nothing of this machine is looked up."""
    if section in KINDS and not (isinstance(config[section], dict) and "_target_" in config[section]):
        raise UserError(f"ckpt={path}: refused, its configuration has no {section}.")
    for key, value in _scalars(config[section], section):
        parent, _, name = key.rpartition(".")
        if "_args_" in key.split("."):  # it would give a class its places unseen
            raise UserError(f"ckpt={path}: refused, its configuration has {key}; only named options are taken.")
        if isinstance(value, str) and "${" in value:  # a run writes what its references mean
            what = f"its configuration would look up {key}={value} on this machine"
            raise UserError(f"ckpt={path}: refused, {what}; if an older version wrote it, train again.")
        if name == "_target_":
            found = _found(value)
            if found is None and str(value).startswith(OURS):
                raise UserError(f"ckpt={path}: refused, this version has no class {key}={value}; train again.")
            if found is None or not _belongs(found, parent):
                raise UserError(f"ckpt={path}: refused, its configuration would run {key}={value}, which is not ours.")
        if name == "_partial_" and (parent in KINDS or parent.startswith("callbacks.")):
            raise UserError(f"ckpt={path}: refused, its configuration makes no {parent}.")


def _found(target: Any) -> type | None:
    """The class of that name; None if it is no class, or not from where the name says."""
    if not isinstance(target, str) or not target.startswith((OURS, OPTIMIZERS, CALLBACKS)):
        return None
    module, _, name = target.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        return None
    if not isinstance(found, type):
        return None  # `mnist_gen.data.zip` also starts well: look at what it really is
    return found if f"{found.__module__}.".startswith((OURS, OPTIMIZERS, CALLBACKS)) else None


def _belongs(found: type, key: str) -> bool:
    """Whether a class may stand under a key: a module, an optimizer, a callback of ours or a harmless one."""
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
