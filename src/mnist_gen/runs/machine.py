"""What this machine has: installed extras, and accelerators. Imports no torch."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from mnist_gen.errors import UserError
from mnist_gen.runs.config import CONF, INSTALLED, listed
from mnist_gen.system import devices

EXTRAS = {  # choices that few need: the extra that installs each, and its modules if it is no plugin of Hydra
    "hydra/launcher=joblib": ("sweep", ""),
    "hydra/launcher=submitit_slurm": ("slurm", ""),
    "hydra/launcher=submitit_local": ("slurm", ""),
    "hydra/launcher=ray": ("ray", ""),
    "hydra/sweeper=optuna": ("optuna", ""),
    "logger=wandb": ("wandb", "wandb"),
    "logger=mlflow": ("mlflow", "mlflow"),
    "task=demo": ("demo", "gradio"),
    "format=onnx": ("export", "onnx onnxscript onnxruntime"),
    "callbacks/extra=device_stats": ("stats", "psutil"),
}

OF_CLUSTERS = ("submitit_slurm", "ray")  # launchers whose jobs run on other machines


def extras(group: str) -> list[str]:
    """The choices of a group that need an extra, installed or not."""
    return [choice for each, _, choice in (name.partition("=") for name in EXTRAS) if each == group]


def check_extras(loader: ConfigLoader, arguments: Sequence[str]) -> None:
    """Names the install command of a plugin or library that is not installed."""
    implied = (
        ["format=onnx"] if "task=export" in arguments and not any(w.startswith("format=") for w in arguments) else []
    )
    words = (word.lstrip("+").partition("=") for word in (*arguments, *implied))
    for group, choice in ((g, c.strip()) for g, _, chosen in words for c in chosen.strip("[]").split(",")):
        if f"{group}={choice}" in EXTRAS:
            extra, modules = EXTRAS[f"{group}={choice}"]
            plugin = not modules and choice not in listed(loader, group, ObjectType.CONFIG)
            if plugin or any(find_spec(module) is None for module in modules.split()):
                which = f"'mnist_gen[{extra}]'" if str(INSTALLED) == CONF else f"-e '.[{extra}]'"
                raise UserError(f"{group}={choice} is not installed: python -m pip install {which}.")


def check_accelerator(defaults: DictConfig, overrides: Sequence[Override]) -> None:
    """Asks the driver whether there is a GPU; torch would take seconds to answer. Jobs of a cluster run elsewhere."""
    given = {o.key_or_group: o for o in overrides}
    if "hydra/launcher" in given and given["hydra/launcher"].value() in OF_CLUSTERS:
        return
    accelerator, group = given.get("trainer.accelerator"), given.get("trainer")
    chosen = defaults.trainer.accelerator if accelerator is None else accelerator.value()
    named = accelerator or group
    word = f"trainer.accelerator={chosen}" if named is None else named.input_line
    if chosen == "mps" and sys.platform != "darwin":
        raise UserError(f"{word}: this machine is no Mac; use trainer=cpu or trainer=gpu.")
    if chosen in ("gpu", "cuda") and devices.gpus() == 0:
        processes = "" if word != "trainer=ddp" else ", or processes: trainer.accelerator=cpu trainer.devices=2"
        raise UserError(f"{word}: no GPU driver answers on this machine; use trainer=cpu{processes}.")


def check_processes(defaults: DictConfig, overrides: Sequence[Override]) -> None:
    """Refuses a sweep whose jobs need several processes each, before any of them starts."""
    given = next((o for o in overrides if o.key_or_group == "trainer.devices" and not o.is_sweep_override()), None)
    count = defaults.trainer.devices if given is None else given.value()
    if isinstance(count, int) and count > 1:
        raise UserError(f"trainer.devices={count}: a sweep runs each job in one process; set trainer.devices=1.")


def check_device(defaults: DictConfig, overrides: Sequence[Override]) -> None:
    """As `check_accelerator`, for a task with a trained model."""
    chosen = next((o.value() for o in overrides if o.key_or_group == "device"), defaults.get("device"))
    if chosen == "cuda" and devices.gpus() == 0:
        raise UserError("device=cuda: no GPU driver answers on this machine; use device=cpu.")
    if chosen == "mps" and sys.platform != "darwin":
        raise UserError("device=mps: this machine is no Mac; use device=cpu.")
