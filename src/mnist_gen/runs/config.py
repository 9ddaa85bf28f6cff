"""A configuration as plain values: composed, flattened and compared. Imports no torch."""

import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mnist_gen.errors import UserError
from mnist_gen.runs import folders
from mnist_gen.runs.limits import walk, within

PACKAGE = Path(__file__).resolve().parents[1]
INSTALLED = PACKAGE / "conf"  # in a wheel; a clone has it at the top
CONF = str(INSTALLED if INSTALLED.is_dir() else PACKAGE.parents[1] / "conf")
CONFIG_NAME = "train"
MACHINE = ("accelerator", "devices", "strategy", "precision", "capture")  # keys of `trainer` that choose the machine
PLACES = (  # paths on this machine; they do not change a run's results
    *folders.PATHS,
    "run.folder",
    *(f"{part}.folder" for part in ("pretrained", "classifier", "autoencoder", "gan", "cgan", "target_scorer")),
)
LIBRARIES = ("mnist_gen", "lightning", "torch", "torchmetrics", "torchvision", "hydra")
ADVICE = ", set env var HYDRA_FULL_ERROR=1 to see chained exception."  # Hydra's; `runs.main` sets it
HYDRAS = ("hydra", "schema")  # sources of Hydra's own configuration
NO_EFFECT = (  # parts that do not change a run's results
    *("callbacks.last", "callbacks.progress"),
    *("quiet", "debug", "logger", "run", "tags", "trust"),
)


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The resolved configuration as dicts, lists and scalars."""
    container = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def recorded(cfg: DictConfig) -> dict[str, Any]:
    """As `plain`, for files: without the loggers, which may hold a key to some service."""
    return {key: value for key, value in plain(cfg).items() if key != "logger"}


def flat(config: Any) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested dicts; a list is one value."""
    return ((key, value) for key, value in walk(config, into=dict) if not isinstance(value, dict) or not value)


def own_packages(cfg: DictConfig) -> list[str]:
    """The packages, neither ours nor libraries, whose classes a configuration names."""
    targets = (value for key, value in walk(OmegaConf.to_container(cfg)) if key.rpartition(".")[2] == "_target_")
    return sorted({str(target).partition(".")[0] for target in targets} - {*LIBRARIES, *sys.stdlib_module_names})


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
def composing(sources: Sequence[str]) -> Iterator[ConfigLoader]:
    """Inside, Hydra composes configurations from some folders or `pkg://` packages, even while it runs a job.

    The first one has the primary configuration.
    """
    hydra = GlobalHydra.instance()
    running, hydra.hydra = hydra.hydra, None
    try:
        with initialize_config_dir(sources[0], job_name=CONFIG_NAME, version_base="1.3"):
            loader = hydra.config_loader()
            assert isinstance(loader, ConfigLoaderImpl)
            for source in sources[1:]:
                loader.config_search_path.prepend("command-line", source, anchor="schema")
            loader.repository.initialize_sources(loader.config_search_path)
            yield loader
    finally:
        hydra.hydra = running


def listed(loader: ConfigLoader, group: str, kind: ObjectType) -> list[str]:
    """As `get_group_options`, which copies the loader and takes 15 ms."""
    found = [source.list(group, kind) for source in loader.get_sources() if source.is_group(group)]
    return sorted({name for names in found for name in names})


def sources_of_job() -> list[str]:
    """Where the running job's configuration was composed from: `composing` takes these."""
    if not HydraConfig.initialized():  # in a program that runs no job
        return [CONF]
    sources = [source for source in HydraConfig.get().runtime.config_sources if source.provider not in HYDRAS]
    return [source.path if source.schema == "file" else f"{source.schema}://{source.path}" for source in sources]


def chosen(group: str) -> str | None:
    """What the running job chose of a group."""
    return HydraConfig.get().runtime.choices.get(group) if HydraConfig.initialized() else None


def one_line(error: BaseException) -> str:
    """An error in one line. If a `UserError` caused it, that error; Hydra's begin with the key where it occurred."""
    text, cause = str(error).replace(ADVICE, ""), error.__cause__
    while cause is not None:
        if isinstance(cause, UserError):
            key = _full_key(text)[1]
            return f"{key}: {cause}" if key and not str(cause).startswith(key) else str(cause)
        if isinstance(cause, OmegaConfBaseException):
            text = f"{text} {cause}"
        cause = cause.__cause__
    text, key = _full_key(text)
    return " ".join(f"{key}: {text}".split() if key else text.split())


def _full_key(text: str) -> tuple[str, str]:
    """A message of Hydra or OmegaConf without the lines that name the key and the object, and the key."""
    found = re.search(r"^\s*full_key: *(\S+)$", text, flags=re.MULTILINE)
    return re.sub(r"^\s*(full_key|object_type)[:=].*$", "", text, flags=re.MULTILINE), found[1] if found else ""
