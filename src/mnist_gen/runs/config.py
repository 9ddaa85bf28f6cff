"""Checks the command line. Imports no torch, so that mistakes are answered at once."""

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, QuotedString
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mnist_gen.errors import UserError
from mnist_gen.runs import folders, layout, limits, ranges
from mnist_gen.runs.renamed import present_name

CONFIG_NAME = "train"
MACHINE = ("accelerator", "devices", "strategy", "precision")  # keys of `trainer` that choose the machine
PLACES = (  # paths on this machine; they do not change a run's results
    *("root", "data.root", "data.cache", "data.path"),
    *("pretrained.folder", "autoencoder.folder", "gan.folder", "cgan.folder", "target_scorer.folder"),
)
FREE_BESIDE_CKPT = {  # keys that may be set beside `ckpt`, whose configuration is used otherwise
    "fit": ("trainer", *folders.MACHINE_KEYS),
    "test": ("trainer", "callbacks", *folders.MACHINE_KEYS),
    "sample": ("digit", "count", "out", "seed", "root"),
}
MOST_JOBS = 10_000  # of a sweep over one key
NO_EFFECT = ("callbacks.last.", "callbacks.progress.")  # keys that do not change a run's results
# Hydra's flags that run nothing
ASKS_ONLY = ("-h", "--h", "-c", "--cfg", "-i", "--info", "-sc", "--shell", "--version")


def plain(cfg: DictConfig) -> dict[str, Any]:
    """The resolved configuration as dicts, lists and scalars."""
    container = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def flat(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested dicts; a list is one value."""
    if isinstance(config, Mapping) and config:
        for key, value in config.items():
            yield from flat(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, config


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Dotted keys whose values differ and that change a run's results."""
    left, right = dict(flat(one)), dict(flat(other))
    keys = {key for key in left.keys() | right.keys() if key not in PLACES and not key.startswith(NO_EFFECT)}
    return sorted(key for key in keys if left.get(key, KeyError) != right.get(key, KeyError))


def shaping(config: Mapping[str, Any], parts: Collection[str]) -> dict[str, Any]:
    """Dotted keys and values of some parts of a configuration, such as `model`, without paths and the machine."""
    elsewhere = {*PLACES, *(f"trainer.{key}" for key in MACHINE)}
    return {
        key: value
        for key, value in flat(config)
        if key not in elsewhere and any(f"{key}.".startswith(f"{part}.") for part in parts)
    }


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


def check_arguments(config_dir: str, arguments: Sequence[str]) -> list[str]:
    """Checks a command line before anything is created or imported, and returns it as Hydra takes it.

    Checks that there is something to run; each group's choice; each key; each value's type and range. `ckpt=last` and
    `ckpt=<folder>` become the checkpoint's file.

    Raises:
        UserError: one line that names the argument and the choices, similar keys, type or range.
    """
    with composing(config_dir):
        loader = GlobalHydra.instance().config_loader()
        overrides = [o for o in _parsed(loader, arguments) if not o.is_hydra_override()]
        groups = [o for o in overrides if "." not in o.key_or_group and _choices(loader, o.key_or_group)]
        for override in groups:
            _check_choice(loader, override)
        if not any(word.startswith(ASKS_ONLY) for word in arguments):
            _check_purpose(loader, overrides, multirun=bool({"-m", "--multirun"} & set(arguments)))
        defaults = _composed(loader, groups)
        known = [key for key, _ in flat(OmegaConf.to_container(defaults)) if not key.startswith("hydra.")]
        for override in overrides:
            if override not in groups and override.type != OverrideType.DEL:
                _check_value(override, defaults, known)
        if not _one_experiment(overrides):
            return _forced(loader, arguments, overrides, groups)
        return _with_checkpoint(Path(config_dir).parent, arguments, overrides)


def _parsed(loader: ConfigLoader, arguments: Sequence[str]) -> list[Override]:
    parser, found = OverridesParser.create(config_loader=loader), []
    for word in arguments:
        if "=" in word and not word.startswith("-"):
            try:
                found += parser.parse_overrides([word])
            except (ValueError, RecursionError):  # thousands of digits, or of nested lists
                raise UserError(f"{word[:60]}...: too long to be read.") from None
    return found


def _check_value(override: Override, defaults: DictConfig, known: Sequence[str]) -> None:
    """Checks the key and each value. A `+` may add a key, but no top-level part of the configuration."""
    key = override.key_or_group
    if override.type == OverrideType.CHANGE:
        _check_key(key, known)
    elif key.partition(".")[0] not in {name.partition(".")[0] for name in known}:
        _check_key(key.partition(".")[0], [name.partition(".")[0] for name in known])
    _check_type(override, _default(defaults, key))
    for value in _values(override):
        limits.check_value(key, value)
        if isinstance(value, dict):
            limits.check({f"{key}.{inner}": content for inner, content in flat(value)})


def _with_checkpoint(root: Path, arguments: Sequence[str], overrides: Sequence[Override]) -> list[str]:
    """Replaces `ckpt=last` (and the experiment beside it) or `ckpt=<folder>` by the checkpoint's file."""
    given = {o.key_or_group: o for o in overrides}
    if "ckpt" not in given or given["ckpt"].value() is None:
        return list(arguments)
    task, named = (str(given[key].value()) if key in given else "fit" for key in ("task", "ckpt"))
    experiment = str(given["experiment"].value()) if "experiment" in given else None
    if "root" in given:
        root = Path(str(given["root"].value()))
    path = layout.find_checkpoint(root, task, named, experiment)
    if task == "fit" and path.absolute().parent.name != layout.CHECKPOINTS:
        raise UserError(f"ckpt={named}: a run continues from a file in its own checkpoints folder.")
    placed = {given["ckpt"].input_line: f"ckpt={layout.quoted(str(path))}"}
    dropped = given["experiment"].input_line if experiment else None
    return [placed.get(word, word) for word in arguments if word != dropped]


def _composed(loader: ConfigLoader, groups: Sequence[Override]) -> DictConfig:
    """The configuration with the chosen groups."""
    try:
        return loader.load_configuration(CONFIG_NAME, [_first(o) for o in groups], RunMode.RUN)
    except ConfigCompositionException as error:
        for override in groups:  # Hydra would advise a +, which changes nothing
            if f"Could not override '{override.key_or_group}'" in str(error):
                word, key = override.input_line, override.key_or_group
                raise UserError(f"{word}: the other choices have no {key}; leave it out.") from None
        raise


def _one_experiment(overrides: Sequence[Override]) -> bool:
    """Whether no sweep over experiments is asked for."""
    return not any(o.key_or_group == "experiment" and o.is_sweep_override() for o in overrides)


def _forced(
    loader: ConfigLoader, arguments: Sequence[str], overrides: Sequence[Override], groups: Sequence[Override]
) -> list[str]:
    """Writes fixed keys as `++key=value`, and groups without a default as sweeps over one choice.

    Hydra composes a sweep's common part without the swept experiments, and would refuse keys that only they have.
    """
    forced = {}
    for fixed in (o for o in overrides if not o.is_sweep_override()):
        if fixed not in groups:
            forced[fixed.input_line] = f"++{str(fixed.input_line).lstrip('+')}"
        elif not _has_default(loader, fixed):
            forced[fixed.input_line] = f"{fixed.get_key_element()}=choice({fixed.value()})"
    return [forced.get(word, word) for word in arguments]


def _has_default(loader: ConfigLoader, override: Override) -> bool:
    """Whether a group can be overridden without an experiment."""
    try:
        loader.load_configuration(CONFIG_NAME, [_first(override)], RunMode.RUN)
    except ConfigCompositionException:
        return False
    return True


def _check_purpose(loader: ConfigLoader, overrides: Sequence[Override], multirun: bool) -> None:
    """Checks that the task has what it needs: an experiment, a checkpoint or a sweep.

    A checkpoint has its own configuration, so only a few keys may be set beside it.
    """
    given = {o.key_or_group: o.value() for o in overrides}
    task, ckpt = str(given.get("task", "fit")), given.get("ckpt")
    if task == "claims":
        if "sweep" not in given:
            raise UserError("task=claims needs sweep=<folder of a sweep>.")
        return
    if ckpt is None:
        if task not in ("fit", "study"):
            raise UserError(f"task={task} needs ckpt=<path of a checkpoint>.")
        if "experiment" not in given:
            names = ", ".join(_choices(loader, "experiment"))
            raise UserError(f"choose an experiment, `python train.py experiment=<name>`: {names}.")
        return
    if task == "study":
        raise UserError("ckpt: name each model of a study by its part, such as gan.ckpt=<path>.")
    chosen = ("task", "ckpt", *(["experiment"] if ckpt == "last" else []))
    for key in given:
        if not any(f"{key}.".startswith(f"{free}.") for free in (*chosen, *FREE_BESIDE_CKPT[task])):
            free = ", ".join(FREE_BESIDE_CKPT[task])
            raise UserError(f"{key} cannot be changed: the checkpoint has its own configuration; only {free} can.")
    if task == "fit" and multirun:
        raise UserError("ckpt: a sweep cannot continue from one checkpoint; repeat the sweep's command.")


def _choices(loader: ConfigLoader, group: str) -> list[str]:
    """All choices of a group, with those in subfolders; empty if it is no group."""
    nested = [f"{sub}/{c}" for sub in loader.list_groups(group) for c in _choices(loader, f"{group}/{sub}")]
    return loader.get_group_options(group) + nested


def _check_choice(loader: ConfigLoader, override: Override) -> None:
    choices = _choices(loader, override.key_or_group)
    for value in _values(override):
        if value is not None and value not in choices:
            new = present_name(str(value))
            hint = f"did you mean {new}?" if new in choices else f"choose one of {', '.join(choices)}."
            raise UserError(f"{override.key_or_group}={value}: {hint}")


def _check_key(key: str, known: Sequence[str]) -> None:
    inner = {".".join(k.split(".")[:depth]) for k in known for depth in range(1, k.count(".") + 2)}
    if key not in inner:
        renamed = [present_name(key)] if present_name(key) in inner else []
        near = renamed or difflib.get_close_matches(key, sorted(inner), n=3, cutoff=0.5)
        near = near or [k for k in sorted(inner) if k.rpartition(".")[2] == key.rpartition(".")[2]][:3]
        hint = f"did you mean {' or '.join(near)}?" if near else "see `python train.py --cfg job experiment=<name>`."
        raise UserError(f"{key}: no such key; {hint}")


def _check_type(override: Override, default: Any) -> None:
    for value in _values(override):
        if isinstance(value, str) and "${" in value:
            continue
        fits = {
            bool: isinstance(value, bool),
            int: isinstance(value, int) and not isinstance(value, bool),
            float: isinstance(value, int | float) and not isinstance(value, bool) and ranges.is_finite(value),
            list: isinstance(value, list),
            dict: isinstance(value, dict),
        }.get(type(default), True)
        if not fits:
            kind = {bool: "true or false", int: "a whole number", float: "a finite number", list: "a list"}
            wanted = kind.get(type(default), "a group of keys")
            raise UserError(f"{override.key_or_group}={value}: must be {wanted}, like {default}.")


def _default(defaults: DictConfig, key: str) -> Any:
    try:
        value = OmegaConf.select(defaults, key)
    except OmegaConfBaseException:  # an interpolation that only a job can resolve
        return None
    return OmegaConf.to_object(value) if OmegaConf.is_config(value) else value


def _values(override: Override) -> list[Any]:
    """The values of a sweep, or the single value."""
    if override.is_sweep_override():
        values = list(islice(override.sweep_iterator(), MOST_JOBS + 1))
        if len(values) > MOST_JOBS:
            raise UserError(f"{override.input_line}: a sweep takes at most {MOST_JOBS} values.")
        return [v.text if isinstance(v, QuotedString) else v for v in values]
    return [override.value()]


def _first(override: Override) -> str:
    return f"{override.get_key_element()}={next(iter(_values(override)), 'null')}"


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
