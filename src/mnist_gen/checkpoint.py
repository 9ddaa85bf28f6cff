"""Reading checkpoints that may come from anywhere: nothing in them is trusted, neither code nor paths nor sizes.

A checkpoint holds weights and plain values. What it says of classes is held against a short list, its paths give way
to those of this machine, and networks are first built without memory, to see whether the weights are theirs.
"""

import copy
import logging
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from mnist_gen import ranges, runs
from mnist_gen.config import PLACES, one_line
from mnist_gen.errors import UserError

CONFIG = "config"  # the checkpoint's key for the run's configuration
OURS, OPTIMIZERS, CALLBACKS = "mnist_gen.", "torch.optim.", "lightning.pytorch.callbacks."
PLAIN = tuple(f"{OURS}{name}" for name in ("attention", "losses", "renderings", "translation"))  # without weights
HARMLESS = (  # callbacks of Lightning that write no file of their own
    *("DeviceStatsMonitor", "EarlyStopping", "EMAWeightAveraging", "LearningRateMonitor", "ModelSummary"),
    *("RichModelSummary", "RichProgressBar", "StochasticWeightAveraging", "Timer", "TQDMProgressBar"),
)
KINDS = {"model": L.LightningModule, "data": L.LightningDataModule}
DEPTH = 30  # of a configuration
TORN = "empty, truncated or no checkpoint; use another, such as previous.ckpt."

log = logging.getLogger(__name__)


class TornError(UserError):
    """The file is not there, or not whole."""


def usable(path: Path) -> tuple[Path, dict[str, Any]] | None:
    """The checkpoint and its content; that of the one before if it is torn or lost. None if there is neither.

    Raises:
        UserError: there are some, and none of them can be used.
    """
    previous = path.with_name(runs.PREVIOUS.name)
    if not path.exists() and not previous.exists():
        return None
    try:
        return path, read(path)
    except TornError as error:
        if path.name != runs.LAST.name or not previous.is_file():
            raise
        log.warning("%s The one before is used: %s", error, previous)
        return previous, read(previous)


def read(path: str | Path) -> dict[str, Any]:
    """The checkpoint's content, on the CPU.

    Raises:
        UserError: it is missing, damaged, holds code, or was not written by this project.
    """
    if not Path(path).is_file():
        raise TornError(f"ckpt={path}: no such file.")
    _check_file(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(f"ckpt={path}: refused, it is no checkpoint or holds code besides weights.") from None
    except Exception:  # damaged bytes make the unpickler fail in many ways
        raise TornError(f"ckpt={path}: {TORN}") from None
    if not isinstance(content, dict) or not {CONFIG, "state_dict"} <= content.keys():
        raise UserError(f"ckpt={path}: not a checkpoint of mnist_gen.")
    try:
        _check_content(content)
    except (ValueError, RecursionError, RuntimeError) as error:
        raise UserError(f"ckpt={path}: refused, {one_line(error)}.") from None
    return content


def is_whole(path: Path) -> bool:
    """Whether a file can be read to its end, whatever it holds."""
    try:
        _check_file(path)
    except UserError:
        return False
    return True


def _check_file(path: str | Path) -> None:
    """A checkpoint is an archive of stored files with checksums, which torch itself does not compare."""
    try:
        with zipfile.ZipFile(path) as archive:
            packed = any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist())
            damaged = packed or archive.testzip() is not None
    except Exception:  # a damaged archive fails in many ways
        damaged, packed = True, False
    if packed:
        raise UserError(f"ckpt={path}: refused, it is compressed, which no checkpoint of torch is.")
    if damaged:
        raise TornError(f"ckpt={path}: {TORN}")


def _check_content(content: Mapping[Any, Any]) -> None:
    """Looks at kinds and sizes; raises a ValueError with what is wrong."""
    if not isinstance(content[CONFIG], dict) or not content[CONFIG]:
        raise ValueError("its configuration is none")
    _check_plain(content[CONFIG], CONFIG, 0)
    weights = content["state_dict"]
    if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights):
        raise ValueError("its weights have no names")
    for name, tensor in weights.items():
        if type(tensor) is not Tensor or tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
            raise ValueError(f"{name} is no plain tensor")
    for name, tensor in _tensors(content):
        if tensor.device.type != "cpu":
            raise ValueError(f"{name} has no values")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ValueError(f"{name} claims more values than the file holds")
    for name, tensor in _tensors({key: content.get(key) for key in ("state_dict", "optimizer_states")}):
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"{name} holds values that are not finite")


def _check_plain(value: Any, key: str, depth: int) -> None:
    """Dicts with text for keys, lists and scalars, not too deep."""
    if depth > DEPTH:
        raise ValueError(f"{key} is nested too deep")
    if isinstance(value, dict):
        for name, inner in value.items():
            if not isinstance(name, str):
                raise ValueError(f"{key} has the key {name!r}, which is no text")
            _check_plain(inner, f"{key}.{name}", depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check_plain(inner, key, depth + 1)
    elif not isinstance(value, str | int | float | bool | None):
        raise ValueError(f"{key} is a {type(value).__name__}")


def _tensors(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every strided tensor in dicts, lists and tuples, with its dotted name."""
    if isinstance(value, Tensor):
        if value.layout == torch.strided and not value.is_quantized:
            yield name, value
    elif isinstance(value, dict | list | tuple):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _tensors(inner, f"{name}.{key}" if name else str(key))


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
        ranges.check(config, apart=PLACES)
    except UserError as error:
        raise UserError(f"ckpt={path}: refused, its configuration says {error}") from None


def load(path: str | Path) -> L.LightningModule:
    """The trained module in evaluation mode, on the CPU, from its checkpoint alone.

    Raises:
        UserError: as `read` and `model_configuration`, or the weights are those of another model.
    """
    content = read(path)
    cfg = model_configuration(content, path)
    check_weights(content, cfg, path)
    model = instantiate(cfg)
    take_weights(model, content, path)
    return model.eval().requires_grad_(False)


def check_weights(content: Mapping[str, Any], model: DictConfig, path: str | Path) -> None:
    """Compares the weights' names and shapes with a model that takes no memory.

    Raises:
        UserError: they differ, or no model can be built.
    """
    weights = content["state_dict"]
    try:
        with torch.device("meta"), _few_parameters(len(weights) + 1):
            expected = instantiate(model).state_dict()
    except _TooManyError:
        raise UserError(f"ckpt={path}: its weights do not fit its own configuration: they are too few.") from None
    except Exception as error:  # constructors fail in many ways on impossible options
        raise UserError(f"ckpt={path}: its model cannot be built ({one_line(error)}).") from error
    if differ := sorted(expected.keys() ^ weights.keys()):
        said = f"{differ[0]} is missing" if differ[0] in expected else f"its model has no {differ[0]}"
        raise UserError(f"ckpt={path}: its weights do not fit its own configuration: {said}.")
    for name, tensor in expected.items():
        if tensor.shape != weights[name].shape:
            shapes = f"{name} is {tuple(weights[name].shape)}, not {tuple(tensor.shape)}"
            raise UserError(f"ckpt={path}: its weights do not fit its own configuration: {shapes}.")


class _TooManyError(Exception):
    """More parameters are made than a checkpoint holds."""


@contextmanager
def _few_parameters(most: int) -> Iterator[None]:
    """Inside, networks may have so many parameters, however small: a million layers take time too."""
    made = 0

    def count(*_: Any) -> None:
        nonlocal made
        made += 1
        if made > 3 * most:  # copies are made of one network
            raise _TooManyError

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def take_weights(model: L.LightningModule, content: Mapping[str, Any], path: str | Path) -> None:
    """Gives a model the weights of a checkpoint, and what else of it the model keeps there.

    Raises:
        UserError: they are not the model's.
    """
    try:
        model.on_load_checkpoint(dict(content))
        model.load_state_dict(content["state_dict"])
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"ckpt={path}: its weights do not fit its own configuration ({one_line(error)}).") from error


def _scalars(config: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in nested dicts and lists, with its dotted key."""
    if isinstance(config, dict | list):
        items = config.items() if isinstance(config, dict) else enumerate(config)
        for name, value in items:
            yield from _scalars(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, config
