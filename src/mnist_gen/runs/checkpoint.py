"""Reads checkpoints without trusting their code, paths or sizes. `training.checkpoints` writes them.

A checkpoint contains only tensors and plain values:

| key | content | written by |
| --- | --- | --- |
| `config` | the run's resolved configuration | `training.checkpoints.EmbedConfig` |
| `state_dict` | weights and buffers of all networks, also averaged and pretrained ones | Lightning, from the model |
| `optimizer_states`, `lr_schedulers` | the optimizers' moments, the schedules' counters | Lightning |
| `epoch`, `global_step`, `loops` | how far training is | Lightning |
| `callbacks` | score, random state, curves, samples | `BestCheckpoint`, `LastCheckpoint`, `Curves`, `DrawSamples` |
| `ImageData`, or a subclass | number of batches served in this epoch | `data.mnist.ImageData` |
| `history`, `spread` | curves of each draw of labels; spread labels | `Transfer`, `SemiSupervised` |

Classes named in `config` must be on a short list (`runs.trust`), this machine's paths replace its paths, and networks
are first built without memory, to compare their shapes with the weights.
"""

import logging
import pickle
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor
from torch.nn.modules.module import register_module_parameter_registration_hook

from mnist_gen.errors import UserError
from mnist_gen.runs import layout
from mnist_gen.runs.config import one_line
from mnist_gen.runs.trust import CONFIG, model_configuration

DEPTH = 30  # of nesting in a configuration
TORN = "empty, truncated or not a checkpoint; use another, such as previous.ckpt."

log = logging.getLogger(__name__)


class TornError(UserError):
    """The file is missing or torn."""


def usable(path: Path) -> tuple[Path, dict[str, Any]] | None:
    """The path and content of a checkpoint, or of its predecessor if it is torn or missing; None without either.

    Raises:
        UserError: none of the existing ones can be used.
    """
    previous = path.with_name(layout.PREVIOUS.name)
    if not path.exists() and not previous.exists():
        return None
    try:
        return path, read(path)
    except TornError as error:
        if path.name != layout.LAST.name or not previous.is_file():
            raise
        log.warning("%s Using the one before: %s", error, previous)
        return previous, read(previous)


def read(path: str | Path) -> dict[str, Any]:
    """The checkpoint's content, on the CPU.

    Raises:
        UserError: it is missing, damaged, contains code, or was not written by this project.
    """
    if not Path(path).is_file():
        raise TornError(f"ckpt={path}: no such file.")
    _check_file(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(f"ckpt={path}: refused, it is not a checkpoint or contains code.") from None
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
    """Whether a file is a complete archive, whatever it contains."""
    try:
        _check_file(path)
    except UserError:
        return False
    return True


def _check_file(path: str | Path) -> None:
    """Compares the archive's checksums, which torch does not."""
    try:
        with zipfile.ZipFile(path) as archive:
            packed = any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist())
            damaged = packed or archive.testzip() is not None
    except Exception:  # a damaged archive fails in many ways
        damaged, packed = True, False
    if packed:
        raise UserError(f"ckpt={path}: refused, it is compressed; checkpoints of torch are not.")
    if damaged:
        raise TornError(f"ckpt={path}: {TORN}")


def _check_content(content: Mapping[Any, Any]) -> None:
    """Checks types and sizes; raises a ValueError that says what is wrong."""
    if not isinstance(content[CONFIG], dict) or not content[CONFIG]:
        raise ValueError("it has no configuration")
    _check_plain(content[CONFIG], CONFIG, 0)
    weights = content["state_dict"]
    if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights):
        raise ValueError("its weights have no names")
    for name, tensor in weights.items():
        if type(tensor) is not Tensor or tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
            raise ValueError(f"{name} is not a plain tensor")
    for name, tensor in _tensors(content):
        if tensor.device.type != "cpu":
            raise ValueError(f"{name} has no values")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ValueError(f"{name} claims more values than the file holds")
    for name, tensor in _tensors({key: content.get(key) for key in ("state_dict", "optimizer_states")}):
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"{name} holds values that are not finite")


def _check_plain(value: Any, key: str, depth: int) -> None:
    """Checks for dicts with text keys, lists and scalars, not nested too deep."""
    if depth > DEPTH:
        raise ValueError(f"{key} is nested too deep")
    if isinstance(value, dict):
        for name, inner in value.items():
            if not isinstance(name, str):
                raise ValueError(f"{key} has the key {name!r}, which is not text")
            _check_plain(inner, f"{key}.{name}", depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check_plain(inner, key, depth + 1)
    elif not isinstance(value, str | int | float | bool | None):
        raise ValueError(f"{key} is a {type(value).__name__}")


def _tensors(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every strided tensor in nested dicts, lists and tuples, with its dotted name."""
    if isinstance(value, Tensor):
        if value.layout == torch.strided and not value.is_quantized:
            yield name, value
    elif isinstance(value, dict | list | tuple):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _tensors(inner, f"{name}.{key}" if name else str(key))


def load(path: str | Path) -> L.LightningModule:
    """The trained module in evaluation mode, on the CPU.

    Raises:
        UserError: as `read` and `model_configuration`, or the weights do not fit the model.
    """
    content = read(path)
    cfg = model_configuration(content, path)
    check_weights(content, cfg, path)
    model = instantiate(cfg)
    take_weights(model, content, path)
    return model.eval().requires_grad_(False)


def check_weights(content: Mapping[str, Any], model: DictConfig, path: str | Path) -> None:
    """Compares the names and shapes of the weights with those of a model built without memory.

    Raises:
        UserError: they differ, or the model cannot be built.
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
    """The model has many more parameters than the checkpoint."""


@contextmanager
def _few_parameters(most: int) -> Iterator[None]:
    """Inside, networks may have only so many parameter tensors: a million small layers take time too."""
    made = 0

    def count(*_: Any) -> None:
        nonlocal made
        made += 1
        if made > 3 * most:  # a module may hold copies of a network
            raise _TooManyError

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def take_weights(model: L.LightningModule, content: Mapping[str, Any], path: str | Path) -> None:
    """Loads the weights of a checkpoint into a model, with whatever else the model saved there.

    Raises:
        UserError: they do not fit the model.
    """
    try:
        model.on_load_checkpoint(dict(content))
        model.load_state_dict(content["state_dict"])
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"ckpt={path}: its weights do not fit its own configuration ({one_line(error)}).") from error
