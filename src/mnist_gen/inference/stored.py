"""Trained models without their training: weights as `<name>.safetensors`, and `<name>.json` beside them.

The JSON file has the model's `config`, and what is known `about` it: the experiment, seed, processor, commit and
metrics of its run. The package holds such models; `task=export format=safetensors` writes others. As in a checkpoint,
nothing in the files is trusted.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from hydra.utils import instantiate
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor

from mnist_gen.errors import UserError
from mnist_gen.runs import checkpoint, layout
from mnist_gen.runs.config import CONF, one_line
from mnist_gen.runs.overview import described
from mnist_gen.runs.trust import CONFIG, model_configuration
from mnist_gen.system import files

MOST_BYTES = 2**28  # of weights
MOST_TEXT = 2**20  # bytes of JSON
Origin = tuple[dict[str, Any], dict[str, Any]]  # a model's configuration, and what is known about its run
KNOWN = ("seed", "commit", "finished", "processor", "cores", "precision", "versions", "metrics")  # of its run


def models() -> dict[str, str]:
    """The trained models in the package: their names for `load`, and what each is."""
    return {name: about(layout.packaged(name))["what"] for name in layout.PACKAGED}


def load(model: str | Path, trust: Sequence[str] = (), device: str = "cpu") -> Any:
    """A trained model, ready to use.

    Args:
        model: the name of one in the package, see `models`; or a run's folder, a checkpoint, or an exported
            `.safetensors` file.
        trust: packages of your own whose classes the file may name. No other code in it is run.
        device: `cpu`, `cuda`, `mps`.

    Returns:
        Its LightningModule in evaluation mode: a `GAN` has `sample`, an `Autoencoder` `encode` and `decode`, a
        `Translation` `translate`, a classifier `probabilities`.

    Raises:
        UserError: the file is missing, damaged, foreign, or names classes that are not trusted.

    Example:
        >>> import mnist_gen
        >>> images = mnist_gen.load("cgan").sample(digit=3, count=25)  # (25, 1, 32, 32) in [0, 1]
    """
    path = _file(model)
    loaded = _exported(path, trust) if path.suffix == layout.EXPORTED else checkpoint.load(path, trust)
    try:
        return loaded.to(device)
    except (RuntimeError, AssertionError) as error:  # torch has no such device, or was built without it
        raise UserError(f"device={device}: cannot be used here ({one_line(error)}).") from None


def about(path: Path) -> dict[str, Any]:
    """What is known about an exported model."""
    return _read_beside(path)["about"]


def origin(model: str | Path) -> Origin:
    """The configuration of a model that `load` takes, and what is known about it."""
    path = _file(model)
    if path.suffix == layout.EXPORTED:
        content = _read_beside(path)
        return content[CONFIG]["model"], content["about"]
    config = checkpoint.read(path)[CONFIG]
    record = layout.read_record(path.absolute().parents[1]) or {}
    experiment = (config.get("run") or {}).get("experiment")
    known = {"what": described([Path(CONF)]).get(str(experiment), ""), "experiment": experiment}
    return config["model"], known | {key: record[key] for key in KNOWN if key in record}


def _file(model: str | Path) -> Path:
    """Raises a UserError if there is no such model."""
    path = layout.packaged(str(model)) if str(model) in layout.PACKAGED else Path(model)
    if not path.exists():
        raise UserError(f"{model}: no such file, and no model in the package; it has {', '.join(layout.PACKAGED)}.")
    return layout.checkpoint_of(path) if path.is_dir() else path


def save(path: Path, model: L.LightningModule, origin: Origin, half: bool) -> None:
    """Writes the weights that a model needs at work, and its origin; `half` stores 16 instead of 32 bits."""
    weights = {name: value.contiguous() for name, value in checkpoint.weights_in_use(model).items()}
    if half:
        weights = {name: value.half() if value.is_floating_point() else value for name, value in weights.items()}
    config, about = origin
    files.write(path, safetensors.save(weights))
    files.write(path.with_suffix(".json"), json.dumps({"about": about, CONFIG: {"model": config}}, indent=1) + "\n")


def _exported(path: Path, trust: Sequence[str]) -> L.LightningModule:
    content = {CONFIG: _read_beside(path)[CONFIG], "state_dict": _weights(path)}
    checkpoint.check_content(content, path)
    cfg = model_configuration(content, path, trust)
    checkpoint.check_weights(content, cfg, path, in_use=True)
    model = instantiate(cfg)
    model.load_state_dict(content["state_dict"], strict=False)  # the others only train it
    return model.eval().requires_grad_(False)


def _read_beside(path: Path) -> dict[str, Any]:
    """The content of the JSON file beside the weights."""
    beside = path.with_suffix(".json")
    content = files.read_json(beside) if beside.is_file() and beside.stat().st_size <= MOST_TEXT else None
    if not isinstance(content, dict) or not all(isinstance(content.get(part), dict) for part in ("about", CONFIG)):
        raise UserError(f"ckpt={path}: {beside.name} is missing beside it, or broken; export the model again.")
    return content


def _weights(path: Path) -> dict[str, Tensor]:
    if path.stat().st_size > MOST_BYTES:
        raise UserError(f"ckpt={path}: refused, it is too large.")
    try:
        weights = safetensors.load(path.read_bytes())
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"ckpt={path}: not a safetensors file, or damaged ({error}).") from None
    return {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
