"""Names, makes and locks the folders of runs and sweeps. Hydra imports this before each job: it imports no torch."""

import copy
import hashlib
import re
from itertools import count
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from mnist_gen.errors import Refused, UserError
from mnist_gen.runs import folders
from mnist_gen.runs.sweeps import summarise

WITH_A_FOLDER = ("fit", "test", "study")  # tasks


class Folders(Callback):
    """Names the run's or the sweep's folder, and keeps a sweep's summary up to date."""

    def __init__(self) -> None:
        self.swept: list[str] = []
        self.fixed: list[str] = []

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Names, makes and locks the run's folder; a run that goes on from a checkpoint goes on in its own.

        A folder named after the time is made under another name if it is there: two runs may start in the same second.
        """
        if config.task not in WITH_A_FOLDER:
            return
        HydraConfig.instance().set_config(copy.deepcopy(config))  # the name says which experiment was chosen
        if config.task == "fit" and config.ckpt is not None:
            folder, made = Path(config.ckpt).absolute().parents[1], None
            config.hydra.output_subdir = None  # the run's own .hydra stays
        elif _named(config, "hydra.run.dir"):
            folder = Path(config.hydra.run.dir)
            made = folders.first_missing(folder)
        else:
            folder, made = _made(Path(config.hydra.run.dir))
        config.hydra.run.dir = str(folder)
        _open(folder, made)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Names the sweep after its experiments and the fixed overrides, and each job after the swept ones.

        There is no time in the name: the same command finds its folder again. The names are fixed as overrides,
        because Hydra resolves them anew for each job, in which a swept key has a value.
        """
        loader = GlobalHydra.instance().config_loader()
        overrides = OverridesParser.create(config_loader=loader).parse_overrides(list(config.hydra.overrides.task))
        fixed = [o for o in overrides if not o.is_sweep_override()]
        self.fixed = [o.key_or_group for o in fixed]
        self.swept = [o.key_or_group for o in overrides if o.is_sweep_override()]
        words = {o.key_or_group: str(o.input_line).lstrip("+") for o in overrides}
        experiments = words["experiment"].partition("=")[2]
        name = "_".join([experiments, *(words[o.key_or_group] for o in fixed if o.key_or_group != "experiment")])
        folder = Path(config.root).resolve() / "outputs" / "sweeps" / _quiet(name)
        config.hydra.overrides.hydra.append(f"hydra.job.config.override_dirname.exclude_keys=[{','.join(self.fixed)}]")
        if not _named(config, "hydra.sweep.dir"):
            config.hydra.sweep.dir = str(folder)
            config.hydra.overrides.hydra.append(f"hydra.sweep.dir='{folder}'")
        _open(Path(config.hydra.sweep.dir), made=None)

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """After each job of a sweep: its summary.csv, .md and .png over all jobs so far."""
        if config.hydra.mode and config.hydra.mode.name == "MULTIRUN":
            summarise(Path(config.hydra.sweep.dir), self.swept, self.fixed)


def _open(folder: Path, made: Path | None) -> None:
    try:
        folders.open_folder(folder, made)
    except UserError as error:
        raise Refused(str(error)) from None


def _named(config: DictConfig, key: str) -> bool:
    """Whether the command line says where to write."""
    return any(str(word).lstrip("+").startswith(f"{key}=") for word in config.hydra.overrides.hydra)


def _made(folder: Path) -> tuple[Path, Path | None]:
    """The folder, made now, or one numbered from 2 on where another run made it; and the outermost that was made."""
    for number in count(1):
        own = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        missing = folders.first_missing(own)
        try:
            own.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError:
            break  # it is said when it is locked
        return own, missing
    return folder, None


def _quiet(name: str) -> str:
    """A folder's name that needs no quoting in a shell or in Hydra, and is not too long."""
    name = re.sub(r"[^\w.+]+", "-", name).strip("-")
    return name if len(name) <= 120 else f"{name[:100]}-{hashlib.sha1(name.encode()).hexdigest()[:8]}"
