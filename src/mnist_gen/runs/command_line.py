"""Checks the command line. Imports no torch, so that mistakes are answered at once."""

import difflib
from collections.abc import Mapping, Sequence
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, OverrideType, QuotedString
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mnist_gen.errors import UserError
from mnist_gen.runs import folders, layout, limits, machine, tasks
from mnist_gen.runs.config import CONF, CONFIG_NAME, composing, flat, listed
from mnist_gen.runs.limits import within
from mnist_gen.runs.ranges import SAME_TYPE
from mnist_gen.runs.renamed import present_name

MOST_JOBS = 10_000  # of a sweep over one key
SHOWS = ("-c", "--cfg", "-i", "--info")  # flags that show a configuration
ASKS_ONLY = (*SHOWS, "-h", "--help", "--hydra-help", "-sc", "--shell-completion", "--version")  # that run nothing
VALUED = ("-c", "--cfg", "-p", "--package", "-cd", "--config-dir", "-cn", "--config-name", "-cp", "--config-path")
LISTS = ("logger", "callbacks/extra")  # groups of which one may choose several


def check_arguments(config_dir: str, arguments: Sequence[str], others: Sequence[str] = ()) -> list[str]:
    """Checks a command line before anything is created or imported, and returns it as Hydra takes it.

    Checks that there is something to run; each group's choice; each key; each value's type and range. An error names
    the argument and the choices, similar keys, type or range. `ckpt=last` and `ckpt=<folder>` become the file. `others`
    are sources of configurations beside `config_dir`, and beside those that the command line adds.
    """
    if {"-sc", "--shell-completion"} & set(arguments):  # `install=bash` is no override
        return list(arguments)
    if any(word.startswith("--e") for word in arguments):  # may be shortened
        raise UserError("--experimental-rerun: refused, it would run code from a file; repeat the command.")
    words, flags = _told_apart(arguments)
    named = {flag.partition("=")[0] for flag in flags}
    asks_only, multirun = bool(named & {*ASKS_ONLY}), any(flag == "-m" or flag.startswith("--m") for flag in flags)
    if multirun and named & {*SHOWS}:
        raise UserError("-m: a sweep has no single configuration to show; leave it out, and the other values too.")
    with composing([config_dir, *others, *_own_sources(arguments)]) as loader:
        parsed = _parsed(loader, words)
        machine.check_extras(loader, words)
        chosen = [o for o in parsed if "." not in o.key_or_group and _choices(loader, o.key_or_group)]
        for override in chosen:
            of_all = dict.fromkeys([*_choices(loader, override.key_or_group), *machine.extras(override.key_or_group)])
            _check_choice(override, [*of_all])
        overrides = [o for o in parsed if not o.is_hydra_override()]
        groups = [o for o in chosen if o in overrides]
        if not asks_only:
            tasks.check({o.key_or_group: o.value() for o in overrides}, multirun)
        defaults = _composed(loader, groups)
        if not multirun and "hydra.mode=MULTIRUN" not in words:
            _check_single(parsed, defaults)
        _check_recipe(loader, groups, defaults)
        plain = OmegaConf.to_container(defaults)
        known, owners = [key for key, _ in flat(plain) if not key.startswith("hydra.")], limits.owners_of(plain)
        for override in overrides:
            if override not in groups and override.type != OverrideType.DEL:
                _check_value(override, defaults, known, owners)
        if not asks_only:
            machine.check_accelerator(defaults, parsed)
            if multirun:
                machine.check_processes(defaults, overrides)
            machine.check_device(defaults, overrides)
        settings = _debug_settings(defaults, words, known)
        if any(o.key_or_group == "experiment" and o.is_sweep_override() for o in overrides):
            if settings:
                raise UserError("debug: does not go with a sweep over experiments, whose keys differ; leave it out.")
            return [*_forced(loader, words, overrides, groups), *flags]
        return [*_with_checkpoint(Path(defaults.root), words, overrides), *settings, *flags]


def _told_apart(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The overrides, and the flags with their values. Hydra takes overrides on one side of the flags only."""
    words: list[str] = []
    flags: list[str] = []
    for before, word in zip(["", *arguments], arguments, strict=False):
        is_flag = word.startswith("-") or before in VALUED or not ("=" in word or word.startswith("~"))
        (flags if is_flag else words).append(word)
    return words, flags


def _parsed(loader: ConfigLoader, arguments: Sequence[str]) -> list[Override]:
    parser, found = OverridesParser.create(config_loader=loader), []
    for word in arguments:
        if "=" in word and not word.startswith("-"):
            try:
                found += parser.parse_overrides([word])
            except (ValueError, RecursionError):  # thousands of digits, or of nested lists
                raise UserError(f"{word[:60]}...: too long to be read.") from None
    return found


def _own_sources(arguments: Sequence[str]) -> list[str]:
    """Where the command line adds configurations: `--config-dir DIR`, `hydra.searchpath=[...]`."""
    words, found = list(arguments), []
    while words:
        word, equals, value = words.pop(0).partition("=")
        if word in ("--config-dir", "-cd") and (equals or words):
            folder = Path(value if equals else words.pop(0))
            if not folder.is_dir():
                raise UserError(f"{word}={folder}: no such folder.")
            found.append(str(folder.absolute()))
        elif word.lstrip("+") == "hydra.searchpath":
            if not (value.startswith("[") and value.endswith("]")):
                raise UserError(f"{word}={value}: must be a list, such as [file://<folder>].")
            found += [source.strip(" '\"") for source in value[1:-1].split(",")]
    return found


def _choices(loader: ConfigLoader, group: str) -> list[str]:
    """All choices of a group, with those in subfolders; empty if it is no group."""
    nested = [
        f"{sub}/{c}" for sub in listed(loader, group, ObjectType.GROUP) for c in _choices(loader, f"{group}/{sub}")
    ]
    return listed(loader, group, ObjectType.CONFIG) + nested


def _check_single(overrides: Sequence[Override], defaults: DictConfig) -> None:
    """Checks that no key has several values; names what they may have been meant to be."""
    for override in (o for o in overrides if o.is_sweep_override() and o.key_or_group != "debug"):
        key, values = override.key_or_group, override.get_value_string()
        swept = not override.is_hydra_override() and str(defaults.get("task")) not in tasks.ALONE and key != "task"
        remedies = ["add -m for a sweep"] if swept else []
        allowed = limits.range_of(key)
        if key in LISTS or (allowed is not None and allowed.allows([*_values(override)])):
            remedies.append(f"use brackets for a list, {key}=[{values}]")
        if "(" not in values and key not in LISTS and isinstance(_default(defaults, key), str | None):
            remedies.append(f"quote a comma that belongs to the value, \"{key}='{values}'\"")
        raise UserError(f"{override.input_line}: {', or '.join(remedies) or 'name one value'}.")


def _check_choice(override: Override, choices: Sequence[str]) -> None:
    values = (each for value in _values(override) for each in (value if isinstance(value, list) else [value]))
    for value in values:
        if value is None:
            instead = "none" if "none" in choices else f"~{override.key_or_group}"
            raise UserError(f"{override.input_line}: Hydra takes no null here; use {instead}.")
        if value not in choices:
            new = present_name(str(value))
            begun = [choice for choice in choices if value != "" and choice.startswith(str(value))]
            near = [new] if new in choices else begun or difflib.get_close_matches(str(value).lower(), choices)
            some = ", ".join([c for c in choices if "/" not in c] or choices)  # subfolders are groups of their own
            is_experiment = override.key_or_group == "experiment"
            others = f"`{folders.command([])}` lists them." if is_experiment else f"choose one of {some}."
            hint = f"did you mean {' or '.join(near)}?" if near else others
            raise UserError(f"{override.key_or_group}={value}: {hint}")


def _composed(loader: ConfigLoader, groups: Sequence[Override]) -> DictConfig:
    """The configuration with the chosen groups; of a sweep, with the first choice of each."""
    first = [f"{o.get_key_element()}={next(iter(_values(o)), 'null')}" for o in groups]
    try:
        return loader.load_configuration(CONFIG_NAME, first, RunMode.RUN)
    except ConfigCompositionException as error:
        for key, word in ((o.key_or_group, o.input_line) for o in groups):
            if f"Could not override '{key}'" in str(error):  # Hydra would advise a +, which changes nothing
                raise UserError(f"{word}: the other choices have no {key}; leave it out.") from None
            if f"Multiple values for {key}" in str(error) and str(word).startswith("+"):
                raise UserError(f"{word}: leave the plus out.") from None
        raise


def _check_value(override: Override, defaults: DictConfig, known: Sequence[str], owners: Mapping[str, str]) -> None:
    """Checks the key and each value. A `+` may add a key, but no top-level part of the configuration."""
    key = override.key_or_group
    if within(key, ("run",)):
        raise UserError(f"{key}: a run sets this itself; leave it out.")
    if override.type == OverrideType.CHANGE:
        _check_key(key, known)
    else:
        _check_key(key.partition(".")[0], [name.partition(".")[0] for name in known])
    default = _default(defaults, key)
    kind = SAME_TYPE.get(type(default))
    for value in _values(override):
        is_reference = isinstance(value, str) and "${" in value
        if kind is not None and not is_reference and not kind.allows(value):
            text = "null" if value is None else value
            raise UserError(f"{key}={text}: must be {kind.text}, like {'[a,b]' if default == [] else default}.")
        limits.check(value, key=key, owners=owners)


def _check_recipe(loader: ConfigLoader, groups: Sequence[Override], defaults: DictConfig) -> None:
    """Checks that the model has the options that a recipe sets."""
    recipe = next((o for o in groups if o.key_or_group == "recipe" and o.value() is not None), None)
    if recipe is None:
        return
    without = _composed(loader, [o for o in groups if o is not recipe])
    options, known = ({key for key, _ in flat(OmegaConf.to_container(part.model))} for part in (defaults, without))
    if options - known:
        raise UserError(f"{recipe.input_line}: it is for GANs; use trainer=gpu with this experiment.")


def _debug_settings(defaults: DictConfig, arguments: Sequence[str], known: Sequence[str]) -> list[str]:
    """The overrides that `debug=...` stands for: those that the experiment has, and that are not given anyway.

    Lightning's Trainer has more options than `conf/trainer` lists.
    """
    if any(word.startswith("debug=") and "," in word for word in arguments):
        raise UserError("debug: choose one; it takes neither a list nor a sweep.")
    given = {word.lstrip("+").partition("=")[0] for word in arguments}
    left_out = [word[1:].partition("=")[0] for word in arguments if word.startswith("~")]
    settings = {key: "null" if value is None else value for key, value in (defaults.get("debug") or {}).items()}
    fitting = (key for key in settings if key in known or key.startswith("trainer."))
    return [f"++{key}={settings[key]}" for key in fitting if key not in given and not within(key, left_out)]


def _check_key(key: str, known: Sequence[str]) -> None:
    keys = sorted({part for name in known for part in accumulate(name.split("."), "{}.{}".format)})
    if key not in keys:
        near = (
            [new]
            if (new := present_name(key)) in keys or new != key
            else difflib.get_close_matches(key, keys, n=3, cutoff=0.5)
        )
        near = near or [k for k in keys if k.rpartition(".")[2] == key.rpartition(".")[2]][:3]
        others = f"see `{folders.command([])} --cfg job experiment=<name>`."
        hint = f"did you mean {' or '.join(near)}?" if near else others
        part, name, *_ = f"{key}..".split(".")
        if part == "callbacks" and Path(CONF, f"callbacks/extra/{name}.yaml").is_file():
            hint = f"it belongs to callbacks/extra={name}."
        if part == "trainer" and not difflib.get_close_matches(key, keys, n=1, cutoff=0.9):
            hint += f" Other options of Lightning's Trainer need a plus: +{key}."
        raise UserError(f"{key}: no such key; {hint}")


def _default(defaults: DictConfig, key: str) -> Any:
    try:
        value = OmegaConf.select(defaults, key)
    except OmegaConfBaseException:  # an interpolation that only a job can resolve
        return None
    return OmegaConf.to_object(value) if OmegaConf.is_config(value) else value


def _values(override: Override) -> list[Any]:
    """The values of a sweep, the ends of an interval, or the single value."""
    value = override.value()
    if isinstance(value, IntervalSweep):  # of a sweeper that chooses values itself
        return [value.start, value.end]
    if not override.is_sweep_override():
        return [value]
    values = list(islice(override.sweep_iterator(), MOST_JOBS + 1))
    if len(values) > MOST_JOBS:
        raise UserError(f"{override.input_line}: a sweep takes at most {MOST_JOBS} values.")
    if not values:
        raise UserError(f"{override.input_line}: matches nothing; to sweep what is in a subfolder, list its names.")
    return [v.text if isinstance(v, QuotedString) else v for v in values]


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
            continue
        try:
            _composed(loader, [fixed])
        except (UserError, ConfigCompositionException):  # only an experiment has this group
            forced[fixed.input_line] = f"{fixed.get_key_element()}=choice({fixed.value()})"
    return [forced.get(word, word) for word in arguments]


def _with_checkpoint(root: Path, arguments: Sequence[str], overrides: Sequence[Override]) -> list[str]:
    """Replaces `ckpt=last` (and the experiment beside it) or `ckpt=<folder>` by the checkpoint's file."""
    words = {o.key_or_group: o.input_line for o in overrides}
    given = {o.key_or_group: str(o.value()) for o in overrides if o.value() is not None}
    if "ckpt" not in given:
        return list(arguments)
    task, named, experiment = given.get("task", "fit"), given["ckpt"], given.get("experiment")
    path = layout.find_checkpoint(Path(given.get("root", root)), task, named, experiment)
    if task == "fit" and path.absolute().parent.name != layout.CHECKPOINTS:
        raise UserError(f"ckpt={named}: name a run's folder, or a file in its folder of checkpoints.")
    placed = {words["ckpt"]: f"ckpt={layout.quoted(str(path))}"}
    dropped = words.get("experiment")
    return [placed.get(word, word) for word in arguments if word != dropped]
