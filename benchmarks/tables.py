"""The tables in README and docs, made from `benchmarks/records`.

A page marks a table by `<!-- table: NAME -->` and `<!-- end -->`, and a table that a study or a sweep left in a file by
`<!-- table: RECORD FILE INDEX -->`. `record.py` writes what stands between the marks.
"""

import json
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mnist_gen.evaluation.metrics import METRICS
from mnist_gen.runs import layout
from mnist_gen.runs.overview import SUBJECTS, described, subject
from mnist_gen.runs.records import short_name
from mnist_gen.runs.tables import markdown

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "benchmarks" / "records"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
MARKED = re.compile(r"(<!-- table: (\S+)(?: (\S+) (\d+))? -->\n).*?(<!-- end -->)", re.DOTALL)

Entry = Mapping[str, Any]  # of one run: command, conditions, metrics
Records = Mapping[str, Sequence[Entry]]  # by experiment, or `sweeps/<sweep>`
Cell = Callable[[Mapping[str, float]], str]  # of a run's metrics


@dataclass(frozen=True)
class Family:
    """Experiments with the same metrics: one table.

    Attributes:
        experiments: in the table's order.
        columns: headings, and what stands below them.
    """

    experiments: Sequence[str]
    columns: Mapping[str, Cell]


def number(name: str, decimals: int = 3) -> Cell:
    """A test metric."""
    return lambda metrics: f"{metrics[name]:.{decimals}f}" if name in metrics else ""


def percent(name: str, decimals: int = 1) -> Cell:
    """A test metric in percent."""
    return lambda metrics: f"{100 * metrics[name]:.{decimals}f}" if name in metrics else ""


def times_floor(metrics: Mapping[str, float]) -> str:
    """FID over that of real images."""
    ratio = metrics["test/fid"] / metrics["floor/fid"] if "floor/fid" in metrics else None
    return "" if ratio is None else f"{ratio:.{1 if ratio < 100 else 0}f}"


def significant(name: str, digits: int) -> Cell:
    """A metric with this number of significant digits."""
    return lambda metrics: f"{metrics[name]:.{digits}g}" if name in metrics else ""


CARD = ("fid", "coverage", "class_accuracy", "cas", "accuracy", "loss", "loss_clean", "correspondence", "l1")
FID = {"FID": significant("test/fid", 3), "FID / floor": times_floor}
COVERAGE = {"density": number("test/density", 2), "coverage": number("test/coverage")}
LABELLED = {
    "class accuracy, %": percent("test/class_accuracy"),
    "worst digit, %": percent("test/worst_class"),
    **FID,
    "coverage": COVERAGE["coverage"],
    "CAS, %": percent("test/cas"),
}
SHARES = {"rarest digit, %": percent("test/rarest_digit"), "commonest, %": percent("test/commonest_digit")}
TRANSLATIONS = tuple(
    f"translate_{strategy}_{pairing}"
    for strategy in ("gan", "cgan", "cyclegan")
    for pairing in ("paired", "loose", "unpaired")
)
ARMS = tuple(f"transfer_{head}_{arm}" for head in ("linear", "mlp") for arm in ("frozen", "finetune", "scratch"))
REPORT = tuple(f"student_report/cgan_{name}" for name in ("onehot", "embed20", "embed65", "embed20_after", "leaky"))

FAMILIES = {
    "conditional_gans": Family(
        ("cgan_embed20", "cgan_embed65", "cgan_onehot", "cgan_embed20_after", "cgan_best", "cgan_50_labels", *REPORT),
        LABELLED,
    ),
    "gans": Family(
        ("gan", "gan_best", "gan_plain", "gan_decoder", "gan_latent", "student_report/gan"),
        {**FID, **COVERAGE, **SHARES},
    ),
    "translation": Family(
        ("translate_l1_paired", *TRANSLATIONS, "bottleneck/cgan", "bottleneck/gan"),
        {**FID, "correspondence, %": percent("test/correspondence"), "L1": number("test/l1")},
    ),
    "few_labels": Family(
        (*ARMS, "transfer_semi", *(f"student_report/{arm}" for arm in ARMS)),
        {
            "accuracy, %": percent("test/accuracy"),
            "deviation": percent("test/accuracy_std"),
            "worst": percent("test/accuracy_worst"),
        },
    ),
    "autoencoders": Family(
        ("autoencoder", "autoencoder_affine", "autoencoder_wide"),
        {"corrupted images": number("test/loss", 4), "clean images": number("test/loss_clean", 4)},
    ),
    "classifiers": Family(
        ("scorer", "scorer_rendered", "transformer_classifier"), {"accuracy, %": percent("test/accuracy", 2)}
    ),
    "mimicry": Family(
        ("mimic_conv", "mimic_mlp", "mimic_learned"),
        {
            "largest error, float32": significant("largest_error/float32", 1),
            "float64": significant("largest_error/float64", 1),
            "relative error, %": percent("test/relative_error", 2),
        },
    ),
}


def family(records: Records, name: str) -> str:
    """A table with one row for each run of a family's experiments, and for runs that differ only by their seeds."""
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
    """Runs in groups of those that differ only by their seeds, if there are several exact ones."""
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for number, entry in enumerate(entries):
        alone = (str(number),) if entry.get("rounded") else ()
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
    """The newest run with seed 0 of each GAN without digits, beside the main job and real images."""
    meanings, rows = described([ROOT / "conf"]), []
    for name in ("gan_plain", "gan_latent", "gan_decoder", "gan", "cgan_embed20"):
        metrics = _newest(records, name)["metrics"]
        rows.append([f"`{name}`", meanings[name], *(cell(metrics) for cell in (FID | COVERAGE).values())])
    floor = {f"test/{metric}": metrics[f"floor/{metric}"] for metric in ("fid", "density", "coverage")}
    rows.append(
        ["real images", "", *(cell(floor | {"floor/fid": floor["test/fid"]}) for cell in (FID | COVERAGE).values())]
    )
    return markdown(["`experiment=`", "what it is", *FID, *COVERAGE], rows)


def semi(records: Records) -> str:
    """`transfer_semi` with fewer and more labels, over draws of labels."""
    by_labels: dict[int, list[float]] = {}
    for run in records["sweeps/semi"][-1]["runs"]:
        labels = re.search(r"data\.labels=(\d+)", run["command"])
        assert labels is not None
        by_labels.setdefault(int(labels[1]), []).append(100 * run["metrics"]["test/accuracy"])
    rows = [
        [
            str(labels),
            str(len(found)),
            f"{statistics.fmean(found):.2f} ± {statistics.stdev(found):.2f}",
            f"{min(found):.2f}",
        ]
        for labels, found in sorted(by_labels.items())
    ]
    return markdown(["labels", "draws", "accuracy, %", "worst"], rows)


def main_run(records: Records) -> str:
    """What a run of the main job prints, in brief."""
    metrics = _newest(records, "cgan_embed20")["metrics"]
    names = ("fid", "density", "coverage", "class_accuracy", "worst_class", "cas")
    lines = (f"{name:<18}{metrics[f'test/{name}']:>10.4f}{metrics[f'floor/{name}']:>13.4f}" for name in names)
    return "\n".join(["```", f"{'metric':<18}{'value':>10}{'real data':>13}", *lines, "```", ""])


def _newest(records: Records, experiment: str) -> Entry:
    """The newest run of the plain command."""
    return [entry for entry in records[experiment] if _options(entry) == experiment and entry["seed"] == 0][-1]


def speed(records: Records) -> str:
    """What `speed.py` measured."""
    rows = [
        [figure, f"{value:.4g}", str(entry["cores"]), short_name(entry["processor"]), entry["commit"]]
        for entry in records["speed"]
        for figure, value in entry["figures"].items()
    ]
    return markdown(["measured", "", "cores", "processor", "commit"], rows)


TABLES: Mapping[str, Callable[[Records], str]] = {
    "experiments": experiments,
    "models": models,
    "main_run": main_run,
    "semi": semi,
    "speed": speed,
    "without_labels": without_labels,
    **{name: partial(family, name=name) for name in FAMILIES},
}


def _without_empty_columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    used = [column for column in range(len(head)) if any(row[column] for row in rows)]
    return markdown([head[column] for column in used], [[row[column] for column in used] for row in rows])


def quotes(records: Records) -> dict[str, list[str]]:
    """By page, the sentences outside tables that name numbers of a record."""
    run = _newest(records, "cgan_embed20")
    time = f"{sum(run['seconds'].values()) / 60:.0f} minutes"
    accuracy = f"{100 * run['metrics']['test/class_accuracy']:.1f} %"
    *_, seeds = (runs for runs in _by_seed(records["cgan_embed20"]) if len(runs) > 2)
    spread = (
        f"FID {_mean(number('test/fid'), seeds)}, coverage {_mean(number('test/coverage'), seeds)}, "
        f"class accuracy {_mean(percent('test/class_accuracy'), seeds)} %, CAS {_mean(percent('test/cas'), seeds)} %"
    )
    from_50 = f"{100 * _newest(records, 'transfer_semi')['metrics']['test/accuracy']:.0f} %"
    return {
        "README.md": [
            f"Samples of `experiment=cgan_embed20` after {time} on two CPU cores. {accuracy} are classified as the",
            f"20 numbers ({time} on two cores)",
            f"It is one run, with seed 0; {len(seeds)} seeds gave {spread}.",
            f"| How accurate is a classifier from 50 labels? | {from_50}, with an autoencoder and unlabelled images |",
        ]
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
    """All records of experiments."""
    paths = (path for path in sorted(RECORDS.rglob("*.json")) if path.name != "faults.json")
    return {path.relative_to(RECORDS).with_suffix("").as_posix(): json.loads(path.read_text()) for path in paths}
