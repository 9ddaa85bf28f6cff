"""Names, makes and locks the folders of runs and sweeps. Hydra imports this before each job, so it imports no torch."""

import copy
import hashlib
import os
import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from mnist_gen.errors import Refused
from mnist_gen.runs import folders, layout
from mnist_gen.system import files, memory, signals

WITH_A_FOLDER = ("fit", "test", "study")  # tasks


class Folders(Callback):
    """Names the folder of a run, or of a sweep and its jobs."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Names, makes and locks the run's folder. A resumed run continues in its own folder."""
        if config.task not in WITH_A_FOLDER:
            return
        HydraConfig.instance().set_config(copy.deepcopy(config))  # the name contains the chosen experiment
        if config.task == "fit" and config.ckpt is not None:
            folder, made = Path(config.ckpt).absolute().parents[1], None
            config.hydra.output_subdir = None  # keeps the run's own .hydra
        else:
            folder = Path(config.hydra.run.dir)
            if not _is_set(config, "hydra.run.dir") and config.hydra.runtime.choices.get("debug"):
                outputs = Path(config.root, "outputs")
                folder = outputs / "debug" / folder.relative_to(outputs)
            made = folders.first_missing(folder)
            if not _is_set(config, "hydra.run.dir"):
                folder = _make(folder)
                made = made or folder.absolute()
        config.hydra.run.dir = str(folder)
        folders.open_folder(folder, made)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Names the sweep after its experiments and swept keys, and each job after its values of them.

        The names contain no time, so that the same command finds its folders again. Hydra resolves names anew for each
        job, in which a swept key has one value; overrides fix them. The sweep's command stands in command.txt.
        """
        swept, fixed = swept_and_fixed(config)
        names = {"dir": _sweep_folder(config, swept, fixed)} | ({"subdir": _job_name(swept)} if swept else {})
        for key, default in names.items():
            if not _is_set(config, f"hydra.sweep.{key}"):
                config.hydra.sweep[key] = default
                config.hydra.overrides.hydra.append(f"hydra.sweep.{key}='{default}'")
        folder = Path(config.hydra.sweep.dir)
        folders.open_folder(folder, made=None)
        if files.is_first_process():
            files.write_now(folder / layout.COMMAND, f"{folders.command(folders.arguments())}\n")
        if str(config.hydra.launcher._target_).endswith(".JoblibLauncher"):
            _check_memory(config.hydra.launcher.n_jobs)
            signals.pass_on(folders.stop_jobs)


def swept_and_fixed(config: DictConfig) -> tuple[list[Override], list[Override]]:
    """The overrides of a sweep's command: those with several values, and the others."""
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    overrides = parser.parse_overrides(list(config.hydra.overrides.task))
    swept = [o for o in overrides if o.is_sweep_override()]
    return swept, [o for o in overrides if not o.is_sweep_override()]


def short_names(keys: Collection[str]) -> dict[str, str]:
    """The last part of each dotted key; the whole key where two would have the same name."""
    last = {key: re.split("[./]", key)[-1] for key in keys}
    counts = Counter(last.values())
    return {key: name if counts[name] == 1 else key for key, name in last.items()}


def _sweep_folder(config: DictConfig, swept: Sequence[Override], fixed: Sequence[Override]) -> str:
    """Sweeps of one name are told apart by a hash: of their fixed overrides, and of swept keys inside other parts."""
    words = {o.key_or_group: str(o.input_line).lstrip("+") for o in (*swept, *fixed)}
    experiments = words["experiment"].partition("=")[2]
    others = short_names([o.key_or_group for o in swept if o.key_or_group != "experiment"])
    name = _plain_name("_".join([experiments, *others.values()]))
    inside = [key for key, short in others.items() if key not in (short, f"model.{short}", f"model/{short}")]
    if alike := sorted([*inside, *(words[o.key_or_group] for o in fixed if o.key_or_group != "experiment")]):
        name += f"_{hashlib.sha1(' '.join(alike).encode()).hexdigest()[:6]}"
    return str(Path(config.root).resolve() / "outputs" / "sweeps" / name)


def _job_name(swept: Sequence[Override]) -> str:
    """For example `embedding_dim-${model.embedding_dim}_seed-${seed}`; Hydra fills in the values."""
    loader, parts = GlobalHydra.instance().config_loader(), []
    names = short_names([o.key_or_group for o in swept])
    for override in swept:
        key, element = override.key_or_group, override.get_key_element().lstrip("+")  # `group@package`
        value = f"${{hydra:runtime.choices.{element}}}" if loader.get_group_options(key) else f"${{{key}}}"
        parts.append(value if key == "experiment" else f"{names[key]}-{value}")
    return "_".join(parts)


def _check_memory(jobs: int) -> None:
    """Refuses more jobs side by side than fit into the free memory. A negative number counts from all cores."""
    jobs = jobs if jobs > 0 else max(1, (os.cpu_count() or 1) + 1 + jobs)
    free = memory.available()
    if jobs * memory.JOB > free:
        raise Refused(
            f"hydra.launcher.n_jobs={jobs}: {jobs} jobs take {jobs * memory.JOB / 1e9:.0f} GB of memory, "
            f"{free / 1e9:.0f} GB are free; set hydra.launcher.n_jobs={max(1, free // memory.JOB)}."
        )


def _is_set(config: DictConfig, key: str) -> bool:
    """Whether the command line sets one of Hydra's own keys."""
    words: Any = OmegaConf.to_container(config.hydra.overrides.hydra)  # a word may refer to what only a job has
    return any(str(word).lstrip("+").startswith(f"{key}=") for word in words)


def _make(folder: Path, number: int = 1) -> Path:
    """Makes the folder. Two runs may start in the same second: the second one gets a number behind its name."""
    own = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
    try:
        own.mkdir(parents=True)
    except FileExistsError:
        return _make(folder, number + 1)
    except OSError:
        pass  # locking it raises the error
    return own


def _plain_name(name: str) -> str:
    """A short folder name that needs no quoting in a shell or in Hydra."""
    name = re.sub(r"[^\w.+]+", "-", name).strip("-")
    return name if len(name) <= 120 else f"{name[:100]}-{hashlib.sha1(name.encode()).hexdigest()[:8]}"
