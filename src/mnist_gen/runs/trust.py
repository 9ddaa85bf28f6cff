"""Checks the configuration inside a checkpoint: its classes, paths and numbers. Nothing in it is trusted."""

import copy
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from mnist_gen.runs.config import LIBRARIES, PLACES, one_line, own_packages

CONFIG = "config"  # the checkpoint's key for the run's configuration
OURS = "mnist_gen."
MODULES = (OURS, "torch.optim.", "lightning.pytorch.callbacks.")  # where its classes may be defined
PLAIN = tuple(  # modules whose classes have no weights
    f"{OURS}{name}"
    for name in ("networks.transformer", "training.adversarial", "data.renderings", "translation.strategy")
)
HARMLESS = (  # callbacks of Lightning that write no files
    *("DeviceStatsMonitor", "EarlyStopping", "EMAWeightAveraging", "LearningRateMonitor", "ModelSummary"),
    *("RichModelSummary", "RichProgressBar", "StochasticWeightAveraging", "Timer", "TQDMProgressBar"),
)
Trusted = Sequence[str]  # packages, modules or classes
KINDS = {"model": L.LightningModule, "data": L.LightningDataModule}


@contextmanager
def refusing(path: str | Path) -> Iterator[None]:
    """Inside, a ValueError refuses the checkpoint."""
    try:
        yield
    except (ValueError, RuntimeError) as error:  # endless nesting is a RuntimeError
        raise UserError(f"ckpt={path}: refused, {one_line(error)}.") from None


def configuration(
    content: Mapping[str, Any], path: str | Path, machine: Mapping[str, Any] | None = None, trusted: Trusted = ()
) -> DictConfig:
    """The checkpoint's configuration, with every part checked. This machine's paths, by dotted key, replace its own.

    Classes may also be of `trusted` packages, which the user names.
    """
    config: dict[str, Any] = copy.deepcopy(content[CONFIG])
    for key in ("logger", "trust"):  # this command's: loggers write where they like
        config.pop(key, None)
    with refusing(path):
        for section in (*KINDS, "callbacks", "trainer"):
            if not isinstance(config.get(section), dict):
                raise ValueError(f"its configuration has no {section}")
        _place(config, machine or {})
        _check(config, trusted)
    return OmegaConf.create(config)  # exactly what was checked


def model_configuration(content: Mapping[str, Any], path: str | Path, trusted: Trusted = ()) -> DictConfig:
    """As `configuration`, for the model only. The other parts are ignored."""
    config = {"model": content[CONFIG].get("model")}
    with refusing(path):
        _check(config, trusted)
    return OmegaConf.create(config).model


def by_command(cfg: DictConfig) -> list[str]:
    """The packages that a command trusts: those that it says, and those whose classes its configuration names."""
    return [*cfg.trust, *own_packages(cfg)]


def _place(config: dict[str, Any], machine: Mapping[str, Any]) -> None:
    """Sets this machine's paths, even if the configuration has none, and its scorer wherever there is one.

    A class of the user's own need not have our paths.
    """
    for key in PLACES:
        part, _, name = key.rpartition(".")
        node = config.get(part) if part else config
        if isinstance(node, dict) and (name in node or str(node.get("_target_", OURS)).startswith(OURS)):
            node[name] = machine.get(key)
    for node in (config, *config["callbacks"].values()):
        if isinstance(node, dict) and "scorer" in node and "scorer" in machine:
            node["scorer"] = machine["scorer"]


def _check(config: Mapping[str, Any], trusted: Trusted) -> None:
    """Checks each class and value. References to this machine's environment are refused."""
    for section in sorted(KINDS.keys() & config.keys()):
        if not isinstance(config[section], dict) or "_target_" not in config[section]:
            raise ValueError(f"its configuration has no {section}")
    for key, value in limits.walk(config):
        parent, _, name = key.rpartition(".")
        if "_args_" in key.split("."):  # positional options would escape the check of paths
            raise ValueError(f"its configuration has {key}: only named options are allowed")
        if isinstance(value, str) and "${" in value:  # runs write resolved values
            what = f"its configuration would look up {key}={value} on this machine"
            raise ValueError(f"{what}; if an older version wrote it, train again")
        if name == "_target_":
            found = _found(value, trusted)
            if found is None and str(value).startswith(OURS):
                raise ValueError(f"this version has no class {key}={value}; train again")
            if found is None or not _belongs(found, parent, trusted):
                raise ValueError(f"its configuration would run {key}={value}, which {_fault(str(value), trusted)}")
        if name == "_partial_" and (parent in KINDS or parent.startswith("callbacks.")):
            raise ValueError(f"its configuration does not build {parent}")
    try:
        limits.check(config, apart=PLACES)
    except UserError as error:
        raise ValueError(f"its configuration says {str(error).removesuffix('.')}") from None


def _fault(target: str, trusted: Trusted) -> str:
    """Why a class is refused, and what helps."""
    package = target.partition(".")[0]
    if _is_trusted(target, trusted):
        return "cannot be imported, or is no class that fits there; is its package installed, or on PYTHONPATH?"
    if package in sys.stdlib_module_names:
        return "is not ours"
    wanted = target.rpartition(".")[0] if package in LIBRARIES else package
    return f"is not ours; if you trust it, add trust=[{wanted}]"


def _is_trusted(name: str, trusted: Trusted) -> bool:
    return any(f"{name}.".startswith(f"{each.rstrip('.')}.") for each in trusted)


def _found(target: Any, trusted: Trusted) -> type | None:
    """The class with this name; None if it is no class, or defined elsewhere."""
    if not isinstance(target, str) or not (target.startswith(MODULES) or _is_trusted(target, trusted)):
        return None
    module, _, name = target.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        return None
    if not isinstance(found, type):
        return None
    defined = f"{found.__module__}.{found.__qualname__}"
    return found if defined.startswith(MODULES) or _is_trusted(defined, trusted) else None


def _belongs(found: type, key: str, trusted: Trusted) -> bool:
    """Whether a class may stand under a key: a module, an optimizer, a trusted class, a harmless callback."""
    is_trusted = _is_trusted(f"{found.__module__}.{found.__qualname__}", trusted)
    section, _, inner = key.partition(".")
    if section in KINDS and not inner:
        return issubclass(found, KINDS[section])
    if section == "callbacks":
        harmless = found.__module__.startswith(OURS) or found.__name__ in HARMLESS
        return issubclass(found, Callback) and (harmless or is_trusted)
    return issubclass(found, nn.Module | torch.optim.Optimizer) or found.__module__ in PLAIN or is_trusted
