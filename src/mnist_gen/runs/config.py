"""A configuration as plain values: composed, flattened and compared. Imports no torch."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mnist_gen.errors import UserError
from mnist_gen.runs import folders
from mnist_gen.runs.limits import walk, within

CONFIG_NAME = "train"
MACHINE = ("accelerator", "devices", "strategy", "precision", "capture")  # keys of `trainer` that choose the machine
PLACES = (  # paths on this machine; they do not change a run's results
    *folders.PATHS,
    *(f"{part}.folder" for part in ("pretrained", "autoencoder", "gan", "cgan", "target_scorer")),
)
NO_EFFECT = ("callbacks.last", "callbacks.progress", "quiet")  # parts that do not change a run's results


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The resolved configuration as dicts, lists and scalars."""
    container = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def flat(config: Any) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested dicts; a list is one value."""
    return ((key, value) for key, value in walk(config, into=dict) if not isinstance(value, dict) or not value)


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Dotted keys whose values differ and that change a run's results."""
    left, right = dict(flat(one)), dict(flat(other))
    keys = {key for key in left.keys() | right.keys() if key not in PLACES and not within(key, NO_EFFECT)}
    return sorted(key for key in keys if left.get(key, KeyError) != right.get(key, KeyError))


def shaping(config: Mapping[str, Any], parts: Collection[str]) -> dict[str, Any]:
    """Dotted keys and values of some parts of a configuration, such as `model`, without paths and the machine."""
    elsewhere = {*PLACES, *(f"trainer.{key}" for key in MACHINE)}
    return {key: value for key, value in flat(config) if key not in elsewhere and within(key, parts)}


@contextmanager
def composing(config_dir: str) -> Iterator[None]:
    """Inside, Hydra composes configurations from a folder, even while it runs a job."""
    hydra = GlobalHydra.instance()
    running, hydra.hydra = hydra.hydra, None
    try:
        with initialize_config_dir(config_dir, job_name=CONFIG_NAME, version_base="1.3"):  # names a job's log
            yield
    finally:
        hydra.hydra = running


def one_line(error: BaseException) -> str:
    """An error in one line. If a `UserError` caused it, that error and the key where it occurred."""
    text, cause = str(error), error.__cause__
    while cause is not None:
        if isinstance(cause, UserError):
            _, _, key = text.partition("full_key: ")
            return f"{key}: {cause}" if key and not str(cause).startswith(key) else str(cause)
        if isinstance(cause, OmegaConfBaseException):
            text = f"{text} {cause}"
        cause = cause.__cause__
    return " ".join(text.split())
