"""Where runs and sweeps write, and what a sweep adds up to. Hydra imports this before each job: it imports no torch."""

import copy
import csv
import hashlib
import io
import re
from collections.abc import Iterator
from itertools import count, groupby
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from mnist_gen import files, runs
from mnist_gen.errors import Refused, UserError
from mnist_gen.tables import markdown

SHOWN = (
    *("test/class_accuracy", "test/worst_class", "test/fid", "test/density", "test/coverage", "test/diversity"),
    *("test/rarest_digit", "test/commonest_digit", "test/cas"),
    *("test/accuracy", "test/accuracy_worst"),
    *("test/correspondence", "test/retrieval", "test/l1", "test/ssim", "test/relative_error"),
)
PER_DIGIT = "test/class_accuracy_"
WITH_A_FOLDER = ("fit", "test", "study")  # tasks
SEEDS = ("seed", "data.labels_seed")
DEVIATION = "_std"  # behind a metric's name


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
            made = runs.first_missing(folder)
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
        runs.open_folder(folder, made)
    except UserError as error:
        raise Refused(str(error)) from None


def _named(config: DictConfig, key: str) -> bool:
    """Whether the command line says where to write."""
    return any(str(word).lstrip("+").startswith(f"{key}=") for word in config.hydra.overrides.hydra)


def _made(folder: Path) -> tuple[Path, Path | None]:
    """The folder, made now, or one numbered from 2 on where another run made it; and the outermost that was made."""
    for number in count(1):
        own = folder if number == 1 else folder.with_name(f"{folder.name}-{number}")
        missing = runs.first_missing(own)
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


def summarise(folder: Path, swept: list[str], fixed: list[str]) -> None:
    """Writes summary.csv (everything), summary.md and summary.png over the jobs in a sweep's folder.

    Where seeds are swept, the table shows means over the seeds and their deviations; beside other keys, so does the
    picture.

    Args:
        folder: the sweep's folder.
        swept: the swept keys, by which the jobs are compared.
        fixed: the other keys on the command line; jobs of another sweep in the same folder are left out.
    """
    found = {path.parents[1]: _settings(path) for path in folder.rglob(".hydra/overrides.yaml")}
    rows = [
        {key: chosen[key] for key in swept} | _results(job)
        for job, chosen in found.items()
        if chosen.keys() == {*swept, *fixed}
    ]
    rows.sort(key=lambda row: [_order(row[key]) for key in sorted(swept, key=SEEDS.__contains__)])
    metrics = sorted({key for row in rows for key in row if "/" in key and key not in swept})
    table = io.StringIO()
    writer = csv.DictWriter(table, [*swept, "status", "seconds", *metrics, "error"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.write(folder / "summary.csv", table.getvalue())
    shown = [name for name in SHOWN if name in metrics]
    settings = [key for key in swept if key not in SEEDS]
    means = list(_over_seeds(rows, settings, metrics)) if len(settings) < len(swept) else []
    tables = [_markdown(means, [*settings, "status", *shown])] if means else []
    minutes = sum(row.get("seconds", 0.0) for row in rows) / 60
    failed = [row for row in rows if "error" in row]
    errors = _markdown(failed, [*swept, "error"]) if failed else ""
    if settings and means:
        swept, rows = settings, means
    else:
        tables.append(_markdown(rows, [*swept, "status", *shown]))
    if digits := [name for name in metrics if name.startswith(PER_DIGIT)]:
        tables.append("Class accuracy of each digit:\n\n" + _markdown(rows, [*swept, *digits]).replace(PER_DIGIT, ""))
    if errors:
        tables.append("What failed:\n\n" + errors)
    tables.append(f"Minutes in all: {minutes:.0f}.\n")
    files.write(folder / "summary.md", "\n".join(tables))
    if shown and swept:
        from mnist_gen import figures  # here, for it imports torch

        values = {key: [str(row[key]) for row in rows] for key in swept}
        drawn = [*shown, *(f"{name}{DEVIATION}" for name in shown if any(f"{name}{DEVIATION}" in row for row in rows))]
        results = {name.partition("/")[2]: [row.get(name) for row in rows] for name in dict.fromkeys(drawn)}
        title = f"{folder.name}: test figures" + (", mean and standard deviation over seeds" if means else "")
        figures.save(figures.sweep(values, results, title), folder / "summary.png")


def _over_seeds(rows: list[dict[str, Any]], swept: list[str], metrics: list[str]) -> Iterator[dict[str, Any]]:
    """A row for all seeds of a setting: each metric's mean, and as `<metric>_std` its deviation over the seeds."""
    for setting, group in groupby(rows, key=lambda row: [row[key] for key in swept]):
        jobs = list(group)
        row: dict[str, Any] = dict(zip(swept, setting, strict=True))
        complete = sum(job["status"] == "complete" for job in jobs)
        row["status"] = f"{complete} of {len(jobs)} seeds"
        for name in (name for name in metrics if not name.endswith(DEVIATION)):  # of draws: this one is of seeds
            values = [job[name] for job in jobs if name in job]
            row |= {name: mean(values)} if values else {}
            row |= {f"{name}{DEVIATION}": stdev(values)} if len(values) > 1 else {}
        yield row


def _settings(overrides: Path) -> dict[str, str]:
    """The words of a job's command, by key; none if Hydra did not write the file."""
    try:
        words = OmegaConf.to_container(OmegaConf.load(overrides))
    except (OSError, ValueError, YAMLError):
        return {}
    found = words if isinstance(words, list) else []
    return dict(str(word).lstrip("+").split("=", 1) for word in found if "=" in str(word))


def _results(job: Path) -> dict[str, Any]:
    """A job's status, seconds and metrics; metrics.json is written last."""
    record = runs.read_record(job)
    if record is not None:
        return {"status": "complete", "seconds": sum(record["seconds"].values()), **record["metrics"]}
    if (job / runs.ERROR).is_file():
        return {"status": "failed", "error": (job / runs.ERROR).read_text(errors="replace").partition("\n")[0]}
    return {"status": "unfinished" if (job / runs.LAST).exists() else "failed"}


def _order(value: Any) -> tuple[float, str]:
    """Numbers by size, then words."""
    try:
        return float(value), ""
    except (TypeError, ValueError):
        return float("inf"), str(value)


def _markdown(rows: list[dict[str, Any]], columns: list[str]) -> str:
    def cell(row: dict[str, Any], column: str) -> str:
        value, deviation = row.get(column, ""), row.get(f"{column}{DEVIATION}")
        if not isinstance(value, float):
            return str(value)
        return f"{value:.4f}" + ("" if deviation is None else f" ± {deviation:.4f}")

    return markdown(columns, [[cell(row, column) for column in columns] for row in rows])
