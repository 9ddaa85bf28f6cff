"""The summary of a sweep: summary.csv, summary.md and summary.png over all its jobs.

Hydra imports this before each job, so it imports no torch at the top.
"""

import csv
import io
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from mnist_gen.runs import layout
from mnist_gen.runs.naming import short_names, swept_and_fixed
from mnist_gen.runs.tables import markdown
from mnist_gen.system import files
from mnist_gen.system.screen import RESULT

if TYPE_CHECKING:
    from mnist_gen.evaluation.metrics import Metric

SEEDS = ("seed", "data.labels_seed")
DEVIATION = " deviation"  # behind a metric: its standard deviation, over seeds or over what the job itself averaged
SINGLE = " of each seed"  # behind a metric: the values of which it is the mean
SCORE = "score"  # key of a row: the metric that chose the checkpoint, its mode, and the score
log = logging.getLogger(__name__)

Row = dict[str, Any]  # of a job: the swept keys, its status and metrics, such as `test/fid`


class Summary(Callback):
    """Updates a sweep's summary after each job.

    A job that ends while another one writes the summary does not wait: it leaves a mark, and the writer writes again.
    """

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        swept, fixed = swept_and_fixed(config)
        self.swept, self.fixed = [o.key_or_group for o in swept], [o.key_or_group for o in fixed]

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        if not config.hydra.mode or config.hydra.mode.name != "MULTIRUN":
            return
        folder = Path(config.hydra.sweep.dir)
        mark = folder / layout.SUMMARY_MARK
        mark.touch()
        while mark.exists():
            try:
                with FileLock(folder / layout.SUMMARY_LOCK, blocking=False):
                    mark.unlink(missing_ok=True)
                    means = summarise(folder, self.swept, self.fixed)
            except Timeout:
                return
            chosen = _by_key(config.hydra.overrides.task) if means else {}
            setting = {key: chosen.get(key) for key in self.swept if key not in SEEDS}
            for row in means:
                if all(row[key] == value for key, value in setting.items()):
                    _say(setting, row)


def summarise(folder: Path, swept: Sequence[str], fixed: Sequence[str]) -> Sequence[Row]:
    """Writes summary.csv (everything), summary.md and summary.png over the jobs in a sweep's folder.

    Returns the means over seeds, if seeds are swept.

    Jobs are compared by the `swept` keys. If seeds are swept, the table shows means and standard deviations over the
    seeds; if other keys are swept too, the chart shows them as well. Jobs of another sweep, with other swept keys or
    other keys on the command line than `fixed`, are left out.
    """
    from mnist_gen.evaluation.metrics import METRICS  # here, because it imports torch

    found = {path.parents[1]: _settings(path) for path in folder.rglob(".hydra/overrides.yaml")}
    rows = [
        {key: chosen[key] for key in swept} | _results(job)
        for job, chosen in found.items()
        if chosen.keys() == {*swept, *fixed}
    ]
    rows.sort(key=lambda row: [_order(row[key]) for key in sorted(swept, key=SEEDS.__contains__)])
    metrics = sorted({key for row in rows for key in row if "/" in key and key not in swept})
    table = io.StringIO()
    columns = [*swept, "status", "seconds", *metrics, "error"]
    writer = csv.DictWriter(table, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    files.write(folder / "summary.csv", table.getvalue())
    settings = [key for key in swept if key not in SEEDS]
    means = list(_over_seeds(rows, settings, metrics)) if len(settings) < len(swept) else []
    deviations = {f"test/{m.name}": f"test/{m.deviation_of}{DEVIATION}" for m in METRICS.values() if m.deviation_of}
    for row in rows:
        row |= {deviations[key]: row[key] for key in deviations.keys() & row}
    shown = _shown(metrics)
    files.write(folder / layout.SUMMARY, _text(rows, means, swept, settings, shown))
    charted = [metric for metric in shown if metric.digit is None]
    if charted and means and settings:
        _draw(folder, "Test metrics, mean and standard deviation over seeds", means, settings, charted)
    elif charted and swept:
        _draw(folder, "Test metrics", rows, swept, charted)
    return means


def _shown(names: Collection[str]) -> "list[Metric]":
    """The metrics among logged names that a summary shows, and those of your own models."""
    from mnist_gen.evaluation.metrics import METRICS, Metric

    declared = [metric for metric in METRICS.values() if metric.summary and f"test/{metric.name}" in names]
    of_test = (name.removeprefix("test/") for name in names if name.startswith("test/"))
    return [*declared, *(Metric(name) for name in of_test if name not in METRICS)]


def _say(setting: Mapping[str, Any], row: Row) -> None:
    """Says the means and the standard deviations over the seeds of a setting so far."""
    varying = _shown([key for key in row if key + DEVIATION in row])
    known = (f"test/{metric.name}" for metric in varying if metric.digit is None)
    if words := [f"{name} {row[name]:.3f} ± {row[name + DEVIATION]:.3f}" for name in known]:
        names = [f"{key}={value}" for key, value in setting.items()]
        log.log(RESULT, "%s:\n  %s", ", ".join([*names, row["status"]]), "\n  ".join(words))


def _text(
    rows: Sequence[Row], means: Sequence[Row], swept: Sequence[str], settings: Sequence[str], shown: "Sequence[Metric]"
) -> str:
    """The tables: means over seeds or single jobs, metrics by digit, and errors."""
    of_all = {f"test/{metric.name}": metric.words for metric in shown if metric.digit is None}
    names = short_names(swept) | of_all
    tables = [_table(means, [*settings, "status", *of_all], names)] if means else []
    compared, keys = (means, settings) if means and settings else (rows, swept)
    if compared is rows:
        status = [] if all(row["status"] == "complete" for row in rows) else ["status"]
        tables.append(_table(rows, [*swept, *status, *of_all], names))
    for family in dict.fromkeys(metric.family for metric in shown if metric.family is not None):
        digits = {f"test/{metric.name}": str(metric.digit) for metric in shown if metric.family == family}
        title = family.replace("_", " ").capitalize()
        tables.append(f"{title} by digit:\n\n" + _table(compared, [*keys, *digits], names | digits))
    if failed := [row for row in rows if "error" in row]:
        tables.append("Failed jobs:\n\n" + _table(failed, [*swept, "error"], names))
    minutes = sum(row.get("seconds", 0.0) for row in rows) / 60
    return "\n".join([*tables, *_best(rows, swept), f"Total time: {minutes:.0f} minutes.\n"])


def _best(rows: Sequence[Row], swept: Sequence[str]) -> list[str]:
    """A line that names the job with the best validation score, if all jobs that have one chose by the same metric."""
    scored = [row for row in rows if SCORE in row]
    if len(scored) < 2 or len({row[SCORE][:2] for row in scored}) > 1:
        return []
    name, mode, _ = scored[0][SCORE]
    best = (min if mode == "min" else max)(scored, key=lambda row: row[SCORE][2])
    return [f"Best {name}: {best[SCORE][2]:.4f}, with {', '.join(f'{key}={best[key]}' for key in swept)}."]


def _draw(folder: Path, title: str, rows: Sequence[Row], swept: Sequence[str], shown: "Sequence[Metric]") -> None:
    from mnist_gen.runs import plots  # here, because it imports torch

    charts = {}
    for metric in shown:
        name, floor = f"test/{metric.name}", f"floor/{metric.name}"
        values, deviations = [row.get(name) for row in rows], [row.get(name + DEVIATION) for row in rows]
        floors = [row[floor] for row in rows if floor in row]
        single = [row.get(name + SINGLE, ()) for row in rows]
        real = mean(floors) if floors else None
        charts[metric.label] = plots.Series(values, deviations, real, single if any(single) else ())
    names = short_names(swept)
    settings = {names[key].replace("_", " "): [str(row[key]) for row in rows] for key in swept}
    plots.save(plots.sweep(settings, charts, title), folder / "summary.png")


def _over_seeds(rows: Sequence[Row], swept: Sequence[str], metrics: Sequence[str]) -> Iterator[Row]:
    """One row for all seeds of a setting: each metric's mean and standard deviation."""
    for setting, group in groupby(rows, key=lambda row: [row[key] for key in swept]):
        jobs = list(group)
        complete = sum(job["status"] == "complete" for job in jobs)
        row: Row = {**dict(zip(swept, setting, strict=True)), "status": f"{complete} of {len(jobs)} seeds"}
        for name in metrics:
            values = [job[name] for job in jobs if name in job]
            row |= {name: mean(values)} if values else {}
            row |= {f"{name}{DEVIATION}": stdev(values)} if len(values) > 1 else {}
            row[f"{name}{SINGLE}"] = values
        yield row


def _settings(overrides: Path) -> dict[str, str]:
    """The overrides of a job's command, by key; empty if Hydra did not write the file."""
    try:
        words = OmegaConf.to_container(OmegaConf.load(overrides))
    except (OSError, ValueError, YAMLError):
        return {}
    return _by_key(words if isinstance(words, list) else [])


def _by_key(words: Iterable[Any]) -> dict[str, str]:
    """The values of overrides, by key."""
    return dict(str(word).lstrip("+~").split("=", 1) for word in words if "=" in str(word))


def _results(job: Path) -> Row:
    record = layout.read_record(job)
    if record is not None:
        row = {"status": "complete", "seconds": sum(record["seconds"].values()), **record["metrics"]}
        chosen_by, score = _chosen_by(record["config"]), record.get("objective")
        return row | ({SCORE: (*chosen_by, score)} if chosen_by and isinstance(score, float) else {})
    if (job / layout.ERROR).is_file():
        return {"status": "failed", "error": (job / layout.ERROR).read_text(errors="replace").partition("\n")[0]}
    return {"status": "unfinished" if (job / layout.LAST).exists() else "failed"}


def _chosen_by(config: Mapping[str, Any]) -> tuple[str, str] | None:
    """The validation metric and mode by which a run chooses its best checkpoint."""
    callbacks = config.get("callbacks")
    best = callbacks.get("best") if isinstance(callbacks, dict) else None
    return (str(best.get("monitor")), str(best.get("mode"))) if isinstance(best, dict) else None


def _order(value: Any) -> tuple[float, str]:
    """Sorts numbers by size, then words."""
    try:
        return float(value), ""
    except (TypeError, ValueError):
        return float("inf"), str(value)


def _table(rows: Sequence[Row], columns: Sequence[str], names: Mapping[str, str]) -> str:
    """A table with a row per job and a column per key, under its name if it has one."""

    def cell(row: Row, column: str) -> str:
        value, deviation = row.get(column, ""), row.get(column + DEVIATION)
        if not isinstance(value, float):
            return str(value)
        return f"{value:.4f}" + ("" if deviation is None else f" ± {deviation:.4f}")

    head = [names.get(column, column) for column in columns]
    return markdown(head, [[cell(row, column) for column in columns] for row in rows])
