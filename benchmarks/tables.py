"""The tables in README and docs, made from `benchmarks/records`.

A page marks a table by `<!-- table: NAME -->` and `<!-- end -->`, and a table that a study or a sweep left in a file by
`<!-- table: RECORD FILE INDEX -->`. `record.py` writes what stands between the marks.
"""

import json
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.families import COVERAGE, FAMILIES, FID, Cell, number
from mnist_gen.evaluation.metrics import METRICS
from mnist_gen.runs import layout
from mnist_gen.runs.overview import SUBJECTS, described, subject
from mnist_gen.runs.records import short_name
from mnist_gen.runs.tables import markdown

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "benchmarks" / "records"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
MARKED = re.compile(r"(<!-- table: (\S+)(?: (\S+) (\d+))? -->\n).*?(<!-- end -->)", re.DOTALL)

CARD = (
    "fid",
    "coverage",
    "class_accuracy",
    "cas",
    "accuracy",
    "loss",
    "loss_clean",
    "correspondence",
    "l1",
)  # of a packaged model

Entry = Mapping[str, Any]  # of one run: command, conditions, metrics
Records = Mapping[str, Sequence[Entry]]  # by experiment, or `sweeps/<sweep>`


def family(records: Records, name: str) -> str:
    """A table with one row for each run of a family's experiments; runs that differ only by their seeds share one."""
    wanted = FAMILIES[name]
    rows = [
        [f"`{_options(runs[0])}`", *(_mean(cell, runs) for cell in wanted.columns.values()), *_conditions(runs)]
        for experiment in wanted.experiments
        for runs in _by_seed(records.get(experiment, ()))
    ]
    return _without_empty_columns(
        ["`experiment=`", *wanted.columns, "seed", "minutes", "cores", "processor", "commit"], rows
    )


def _options(entry: Entry) -> str:
    """What stands behind `experiment=` in the command; the seed has a column of its own."""
    words = str(entry["command"]).split(" experiment=")[1].split(" ")
    return " ".join(word for word in words if not word.startswith("seed="))


def _by_seed(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Runs in groups that differ only by their seeds; a rounded one stays alone."""
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for place, entry in enumerate(entries):
        alone = (str(place),) if entry.get("rounded") else ()
        groups.setdefault((_options(entry), entry["commit"], entry["processor"], *alone), []).append(entry)
    return list(groups.values())


def _mean(cell: Cell, runs: Sequence[Entry]) -> str:
    """A cell of one run, or the mean and standard deviation of several."""
    metrics = [run["metrics"] for run in runs]
    if len(runs) == 1:
        return cell(metrics[0])
    means = {name: statistics.fmean(each[name] for each in metrics) for name in metrics[0]}
    deviations = {name: statistics.stdev(each[name] for each in metrics) for name in metrics[0]}
    floors = {name: value for name, value in means.items() if name.startswith("floor/")}  # the same in all
    mean, deviation = cell(means), cell(deviations | floors)
    return f"{mean} ± {deviation}" if mean else ""


def _conditions(runs: Sequence[Entry]) -> list[str]:
    minutes = statistics.fmean(sum(run["seconds"].values()) for run in runs) / 60
    shown, first = f"{minutes:.1f}" if minutes else "", runs[0]
    seeds = ", ".join(str(seed) for seed in sorted(run["seed"] for run in runs))
    return [seeds, shown, str(first["cores"]), short_name(first["processor"]), first["commit"]]


def written_by_a_run(records: Records, name: str, file: str, index: int) -> str:
    """A table that a study or a sweep left, in its newest record."""
    return "\n".join(records[name][-1]["tables"][file][index]) + "\n"


def models(_: Records) -> str:
    """The models in the package, with what their runs measured beside real images."""
    rows = []
    for name in layout.PACKAGED:
        about = json.loads(layout.packaged(name).with_suffix(".json").read_text())["about"]
        shown = [metric for metric in CARD if f"test/{metric}" in about["metrics"]]
        measured = ", ".join(_beside_floor(about["metrics"], metric) for metric in shown)
        made = f"`{about['experiment']}`, seed {about['seed']}"
        size = sum(layout.packaged(name).with_suffix(end).stat().st_size for end in (".safetensors", ".json"))
        kilobytes = f"{size / 1000:.0f}"
        processor = short_name(about["processor"])
        rows.append([f"`{name}`", about["what"], made, measured, kilobytes, processor, about["commit"]])
    return markdown(["name", "what it is", "made by", "measured (real images)", "kB", "processor", "commit"], rows)


def _beside_floor(metrics: Mapping[str, float], metric: str) -> str:
    floor = f" ({metrics[f'floor/{metric}']:.3g})" if f"floor/{metric}" in metrics else ""
    return f"{METRICS[metric].words} {metrics[f'test/{metric}']:.3g}{floor}"


def experiments(records: Records) -> str:
    """The experiments and what they show, from the first lines of their files."""
    order = list(SUBJECTS)
    found = sorted(described([ROOT / "conf"]).items(), key=lambda each: order.index(subject(each[0])))
    rows = [[subject(name).partition(":")[0], f"`{name}`", meaning] for name, meaning in found]
    return markdown(["subject", "`experiment=`", "what it is"], rows)


def without_labels(records: Records) -> str:
    """The newest run with seed 0 of each GAN without digits, beside the main experiment and real images."""
    meanings, rows = described([ROOT / "conf"]), []
    for name in ("gan_plain", "gan_latent", "gan_decoder", "gan", "cgan_embed20"):
        metrics = _newest(records, name)["metrics"]
        rows.append([f"`{name}`", meanings[name], *(cell(metrics) for cell in (FID | COVERAGE).values())])
    floor = {f"test/{metric}": metrics[f"floor/{metric}"] for metric in ("fid", "density", "coverage")}
    rows.append(
        ["real images", "", *(cell(floor | {"floor/fid": floor["test/fid"]}) for cell in (FID | COVERAGE).values())]
    )
    return markdown(["`experiment=`", "what it is", *FID, *COVERAGE], rows)


def main_run(records: Records) -> str:
    """What a run of the main experiment prints, in brief."""
    metrics = _newest(records, "cgan_embed20")["metrics"]
    names = ("fid", "density", "coverage", "class_accuracy", "worst_class", "cas")
    lines = (f"{name:<18}{metrics[f'test/{name}']:>10.4f}{metrics[f'floor/{name}']:>13.4f}" for name in names)
    return "\n".join(["```", f"{'metric':<18}{'value':>10}{'real data':>13}", *lines, "```", ""])


def _newest(records: Records, experiment: str) -> Entry:
    """The newest run of the plain command."""
    return [entry for entry in records[experiment] if _options(entry) == experiment and entry["seed"] == 0][-1]


def speed(records: Records) -> str:
    """What `speed.py` measured last."""
    rows = [
        [what, f"{value:.4g}", str(entry["cores"]), short_name(entry["processor"]), entry["commit"]]
        for entry in _sections(records)
        for what, value in entry["metrics"].items()
    ]
    return markdown(["measured", "", "cores", "processor", "commit"], rows)


def measured_speeds(records: Records) -> dict[str, float]:
    """The values of `speed`, by row."""
    return {what: value for entry in _sections(records) for what, value in entry["metrics"].items()}


def _sections(records: Records) -> list[Entry]:
    """The newest entry of each section."""
    return [*{entry["section"]: entry for entry in records["speed"]}.values()]


TABLES: Mapping[str, Callable[[Records], str]] = {
    "experiments": experiments,
    "models": models,
    "main_run": main_run,
    "speed": speed,
    "without_labels": without_labels,
    **{name: partial(family, name=name) for name in FAMILIES},
}


def _without_empty_columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    used = [column for column in range(len(head)) if any(row[column] for row in rows)]
    return markdown([head[column] for column in used], [[row[column] for column in used] for row in rows])


def quotes(records: Records) -> dict[str, list[str]]:
    """By page, the sentences outside tables that name numbers of a record."""
    run, runs = _newest(records, "cgan_embed20"), records["cgan_embed20"]
    minutes = sorted(round(sum(each["seconds"].values()) / 60) for each in runs)
    after = f"{sum(run['seconds'].values()) / 60:.0f} minutes on two cores of an {run['processor']}"
    accuracy = f"{100 * run['metrics']['test/class_accuracy']:.1f} %"
    *_, seeds = (by_seed for by_seed in _by_seed(runs) if len(by_seed) > 2)
    spread = (
        f"FID {_mean(number('test/fid'), seeds)}, coverage {_mean(number('test/coverage'), seeds)}, "
        f"class accuracy {_mean(number('test/class_accuracy'), seeds)}, CAS {_mean(number('test/cas'), seeds)}"
    )
    from_50 = f"{100 * _newest(records, 'transfer_semi')['metrics']['test/accuracy']:.0f} %"
    return {
        "README.md": [
            f"Samples of `experiment=cgan_embed20` after {after}. {accuracy} are classified as the",
            f"20 numbers ({minutes[0]} to {minutes[-1]} minutes on two cores)",
            f"This is one run, with seed 0. Means over {len(seeds)} seeds: {spread}.",
            f"| How accurate is a classifier from 50 labels? | {from_50}, with an autoencoder and unlabelled images |",
        ],
        "docs/few_labels.md": [f"which spreads the labels to images without labels, is best: {from_50}."],
    }


def filled(text: str, records: Records) -> str:
    """A page with its tables written anew.

    Raises:
        KeyError: it marks a table that is not known here.
    """

    def table(match: re.Match[str]) -> str:
        start, name, file, index, end = match.groups()
        return start + (written_by_a_run(records, name, file, int(index)) if file else TABLES[name](records)) + end

    return MARKED.sub(table, text)


def read() -> Records:
    """All records of experiments, and of their speed on processors."""
    paths = (path for path in sorted(RECORDS.rglob("*.json")) if path.name not in ("faults.json", "gpu.json"))
    return {path.relative_to(RECORDS).with_suffix("").as_posix(): json.loads(path.read_text()) for path in paths}
