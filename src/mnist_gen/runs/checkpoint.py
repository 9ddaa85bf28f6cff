"""Reads checkpoints without trusting their code, paths or sizes. `training.checkpoints` writes them.

A checkpoint contains only tensors and plain values:

| key | content | written by |
| --- | --- | --- |
| `config` | the run's resolved configuration | `training.checkpoints.EmbedConfig` |
| `state_dict` | weights and buffers of all networks, also averaged and pretrained ones | Lightning, from the model |
| `optimizer_states`, `lr_schedulers` | the optimizers' moments, the schedules' counters | Lightning |
| `epoch`, `global_step`, `loops` | how far training is | Lightning |
| `loops`, if saved before a validation | that validation has begun | `training.checkpoints.LastCheckpoint` |
| `callbacks` | best score | `training.checkpoints.BestCheckpoint` |
| `callbacks` | random state | `training.checkpoints.LastCheckpoint` |
| `callbacks` | curves | `training.curves.Curves` |
| `callbacks`, with early stopping | validations without a better metric | `training.stopping.StopEarly` |
| `callbacks`, of a GAN | the samples drawn so far | `gan.callbacks.DrawSamples` |
| `ImageData`, or a subclass | number of batches served in this epoch | `data.mnist.ImageData` |
| `history` | curves of each draw of labels | `transfer.Transfer`, `transfer.semi.SemiSupervised` |
| `spread` | labels spread to all images | `transfer.semi.SemiSupervised` |

Classes named in `config` must be on a short list (`runs.trust`), this machine's paths replace its paths, and networks
are first built without memory, to compare their shapes with the weights.
"""

import itertools
import logging
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
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
from mnist_gen.runs.limits import walk
from mnist_gen.runs.trust import CONFIG, model_configuration, refusing

DEPTH = 30  # of nesting in a configuration
MOST_ENTRIES = 10**7  # in nested lists and dicts; a small file can repeat one list in another without end
FINITE = ("state_dict.", "optimizer_states.")  # tensors that may hold no NaN or infinity
TORN = "empty, truncated or not a checkpoint; use another, such as previous.ckpt."
OTHER_VERSION = "its options are those of another version of its classes; train again."
MOST_UNUSED = 10**6  # weights that only train an exported model
MISFIT = "its weights do not fit its own configuration"

log = logging.getLogger(__name__)


class TornError(UserError):
    """The file is missing or torn."""


def usable(path: Path) -> tuple[Path, dict[str, Any]] | None:
    """The path and content of a checkpoint, or of its predecessor if it is torn or missing; None without either."""
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
    """The checkpoint's content, on the CPU. A missing or damaged file raises a TornError, a foreign one a UserError."""
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
    check_content(content, path)
    return content


def check_content(content: Mapping[str, Any], path: str | Path) -> None:
    """Refuses what no run wrote: too many values, a foreign configuration, tensors that are not plain and finite."""
    with refusing(path):
        if any(number > MOST_ENTRIES for number, _ in enumerate(walk(content))):
            raise ValueError("it holds too many values")
        _check_config(content[CONFIG])
        _check_tensors(content)


def is_whole(path: Path) -> bool:
    """Whether a file is a complete archive, whatever it contains."""
    try:
        _check_file(path)
    except UserError:
        return False
    return True


def _check_file(path: str | Path) -> None:
    """Compares the archive's checksums, which torch does not."""
    packed = whole = False
    with suppress(Exception), zipfile.ZipFile(path) as archive:  # a damaged archive fails in many ways
        packed = any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist())
        whole = not packed and archive.testzip() is None
    if packed:
        raise UserError(f"ckpt={path}: refused, it is compressed; checkpoints of torch are not.")
    if not whole:
        raise TornError(f"ckpt={path}: {TORN}")


def _check_config(config: Any) -> None:
    """Checks for dicts with text keys, lists and scalars, not nested too deep."""
    if not isinstance(config, dict) or not config:
        raise ValueError("it has no configuration")
    for key, value in walk(config, CONFIG):
        if key.count(".") > DEPTH:
            raise ValueError(f"{key} is nested too deep")
        if not isinstance(value, dict | list | str | int | float | bool | None):
            raise ValueError(f"{key} is a {type(value).__name__}")
        for name in value if isinstance(value, dict) else ():
            if not isinstance(name, str):
                raise ValueError(f"{key} has the key {name!r}, which is not text")


def _check_tensors(content: Mapping[str, Any]) -> None:
    """Checks for named weights, and for tensors with values that the file holds and that are finite."""
    weights = content["state_dict"]
    if not isinstance(weights, dict) or not all(isinstance(name, str) for name in weights):
        raise ValueError("its weights have no names")
    for name, tensor in weights.items():
        if type(tensor) is not Tensor or tensor.is_complex() or not _is_plain(tensor):
            raise ValueError(f"{name} is not a plain tensor")
    for name, tensor in ((name, value) for name, value in walk(content) if _is_plain(value)):
        if tensor.device.type != "cpu":
            raise ValueError(f"{name} has no values")
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ValueError(f"{name} claims more values than the file holds")
        if name.startswith(FINITE) and tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(f"{name} holds values that are not finite")


def _is_plain(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized


def load(path: str | Path, trusted: Sequence[str] = ()) -> L.LightningModule:
    """The trained module in evaluation mode, on the CPU. Its classes are ours, or of `trusted` packages."""
    content = read(path)
    cfg = model_configuration(content, path, trusted)
    check_weights(content, cfg, path)
    model = instantiate(cfg)
    take_weights(model, content, path)
    return model.eval().requires_grad_(False)


def weights_in_use(model: L.LightningModule) -> dict[str, Tensor]:
    """The weights and buffers that a trained model needs at work, without those that only train it.

    A model may name these parts as `in_use`.
    """
    weights, parts = model.state_dict(), getattr(model, "in_use", None)
    return weights if parts is None else {n: w for n, w in weights.items() if n.partition(".")[0] in parts}


def check_weights(content: Mapping[str, Any], model: DictConfig, path: str | Path, in_use: bool = False) -> None:
    """Compares the names and shapes of the weights with those of a model built without memory.

    `in_use`: the content has only `weights_in_use`.
    """
    weights, made = content["state_dict"], itertools.count(1)

    def stop(*_: Any) -> None:  # a million small layers take time too; a module may hold copies of a network
        if next(made) > 3 * (len(weights) + 1):
            raise UserError("the weights are too few for it")

    try:
        with torch.device("meta"), register_module_parameter_registration_hook(stop):
            built = instantiate(model)
            whole = built.state_dict()
            expected = weights_in_use(built) if in_use else whole
    except Exception as error:  # constructors fail in many ways on impossible options
        if "unexpected keyword argument" in str(error) or "required positional argument" in str(error):
            raise UserError(f"ckpt={path}: {OTHER_VERSION}") from error
        raise UserError(f"ckpt={path}: its model cannot be built ({one_line(error)}).") from error
    inside, outside = (sum(w.numel() for n, w in whole.items() if (n in expected) == used) for used in (True, False))
    if outside > MOST_UNUSED + 10 * inside:  # parts that only train it are built too, with whatever sizes it names
        raise UserError(f"ckpt={path}: refused, its model would have {outside:,} weights that the file does not hold.")
    if differ := sorted(expected.keys() ^ weights.keys()):
        said = f"{differ[0]} is missing" if differ[0] in expected else f"its model has no {differ[0]}"
        raise UserError(f"ckpt={path}: {MISFIT}: {said}.")
    for name, tensor in expected.items():
        found, needed = tuple(weights[name].shape), tuple(tensor.shape)
        if found != needed:
            raise UserError(f"ckpt={path}: {MISFIT}: {name} is {found}, not {needed}.")


def take_weights(model: L.LightningModule, content: Mapping[str, Any], path: str | Path) -> None:
    """Loads the weights of a checkpoint into a model, with whatever else the model saved there."""
    try:
        model.on_load_checkpoint(dict(content))
        model.load_state_dict(content["state_dict"])
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"ckpt={path}: {MISFIT} ({one_line(error)}).") from error
