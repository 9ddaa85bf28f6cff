"""Reading checkpoints that may come from anywhere: weights and plain values only, and no foreign code."""

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from mnist_gen.config import PLACES
from mnist_gen.errors import UserError

CONFIG = "config"  # the checkpoint's key for the run's configuration, interpolations unresolved
TRUSTED = ("mnist_gen.", "torch.optim.")


def of_run(folder: Path) -> Path:
    """The checkpoint by which a run is judged: the best one, or the last where no best is kept."""
    best = folder / "checkpoints" / "best.ckpt"
    return best if best.exists() else best.with_name("last.ckpt")


def read(path: str | Path) -> dict[str, Any]:
    """The checkpoint's content, on the CPU.

    Raises:
        UserError: it is missing, damaged, holds code, or was not written by this project.
    """
    if not Path(path).is_file():
        raise UserError(f"ckpt={path}: no such file.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise UserError(f"ckpt={path}: refused, it is no checkpoint or holds code besides weights.") from None
    except Exception:  # damaged bytes make the unpickler fail in many ways
        raise UserError(f"ckpt={path}: empty, truncated or no checkpoint; use another, such as last.ckpt.") from None
    if not isinstance(content, dict) or not {CONFIG, "state_dict"} <= content.keys():
        raise UserError(f"ckpt={path}: not a checkpoint of mnist_gen.")
    return content


def configuration(content: dict[str, Any], path: str | Path, machine: Mapping[str, Any] | None = None) -> DictConfig:
    """The configuration the checkpoint was trained under.

    Args:
        content: what `read` gave.
        path: where from, for messages.
        machine: this machine's places, by dotted key, in place of the checkpoint's; without them those are null.

    Raises:
        UserError: it would run foreign code.
    """
    raw = OmegaConf.create(content[CONFIG])
    for key in PLACES:
        if OmegaConf.select(raw, key.rpartition(".")[0] or key, throw_on_resolution_failure=False) is not None:
            OmegaConf.update(raw, key, (machine or {}).get(key))
    for key, value in _scalars(OmegaConf.to_container(raw)):
        if isinstance(value, str) and "${" in value and ":" in value:  # a resolver, such as oc.env
            raise UserError(f"ckpt={path}: refused, its configuration would look up {key}={value} on this machine.")
    resolved = OmegaConf.to_container(raw, resolve=True)
    for key, value in _scalars(resolved):
        if key.rpartition(".")[2] == "_target_" and not _trusted(value):
            raise UserError(f"ckpt={path}: refused, its configuration would run {key}={value}, which is not ours.")
        if isinstance(value, str) and "${" in value:  # an interpolation in disguise would be resolved behind our back
            raise UserError(f"ckpt={path}: refused, its configuration hides an interpolation in {key}.")
    cfg = OmegaConf.create(resolved)  # what runs is what was looked at
    assert isinstance(cfg, DictConfig)
    return cfg


def load(path: str | Path) -> L.LightningModule:
    """The trained module in evaluation mode, on the CPU, from its checkpoint alone.

    Raises:
        UserError: as `read`, or the checkpoint would run foreign code.
    """
    content = read(path)
    model = instantiate(configuration(content, path).model)
    try:
        model.load_state_dict(content["state_dict"])
    except RuntimeError:
        raise UserError(f"ckpt={path}: its weights do not fit its own configuration.") from None
    return model.eval().requires_grad_(False)


def _scalars(config: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in nested dicts and lists, with its dotted key."""
    if isinstance(config, dict | list):
        items = config.items() if isinstance(config, dict) else enumerate(config)
        for name, value in items:
            yield from _scalars(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, config


def _trusted(target: Any) -> bool:
    if not isinstance(target, str) or not target.startswith(TRUSTED):
        return False
    try:
        found = get_class(target)  # `mnist_gen.data.shutil.rmtree` also starts well: look at what it really is
    except (InstantiationException, ImportError, ValueError):
        return False
    return f"{found.__module__}.".startswith(TRUSTED)
