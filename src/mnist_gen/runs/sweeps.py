"""A sweep's summary over all its jobs. Imports no torch."""

import csv
import io
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from omegaconf import OmegaConf
from yaml import YAMLError

from mnist_gen.runs import layout
from mnist_gen.runs.tables import markdown
from mnist_gen.system import files

SHOWN = (
    *("test/class_accuracy", "test/worst_class", "test/fid", "test/density", "test/coverage", "test/diversity"),
    *("test/rarest_digit", "test/commonest_digit", "test/cas"),
    *("test/accuracy", "test/accuracy_worst"),
    *("test/correspondence", "test/retrieval", "test/l1", "test/ssim", "test/relative_error"),
)
PER_DIGIT = "test/class_accuracy_"
SEEDS = ("seed", "data.labels_seed")
DEVIATION = "_std"  # behind a metric's name


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
        from mnist_gen import plots  # here, for it imports torch

        values = {key: [str(row[key]) for row in rows] for key in swept}
        drawn = [*shown, *(f"{name}{DEVIATION}" for name in shown if any(f"{name}{DEVIATION}" in row for row in rows))]
        results = {name.partition("/")[2]: [row.get(name) for row in rows] for name in dict.fromkeys(drawn)}
        title = f"{folder.name}: test figures" + (", mean and standard deviation over seeds" if means else "")
        plots.save(plots.sweep(values, results, title), folder / "summary.png")


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
    record = layout.read_record(job)
    if record is not None:
        return {"status": "complete", "seconds": sum(record["seconds"].values()), **record["metrics"]}
    if (job / layout.ERROR).is_file():
        return {"status": "failed", "error": (job / layout.ERROR).read_text(errors="replace").partition("\n")[0]}
    return {"status": "unfinished" if (job / layout.LAST).exists() else "failed"}


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
