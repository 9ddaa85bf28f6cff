"""The answer to the student report: one page in its own order, as HTML and as Markdown.

What the student report says and why things are so stands in practice.yaml and theory.yaml. Numbers, verdicts and
conditions come from the records of runs, pictures from runs in `outputs` or from `docs`. A section whose runs have no
record shows the commands that fill it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files as resources
from itertools import groupby
from pathlib import Path
from typing import Any, cast

from hydra import compose
from hydra.utils import instantiate
from omegaconf import OmegaConf

from mnist_gen.data import NUM_CLASSES
from mnist_gen.networks.inspection import HasExamples, Layer, layers
from mnist_gen.runs import layout, plots, pretrained
from mnist_gen.runs.config import CONF, CONFIG_NAME, composing
from mnist_gen.runs.records import short_name
from mnist_gen.student_report.pages import Picture, Rows, Section, Table, as_html, as_markdown
from mnist_gen.system import files
from mnist_gen.transfer.callbacks import published

PARTS = ("practice.yaml", "theory.yaml")
CLAIM = "claim"  # the first heading of a table of claims

Entry = Mapping[str, Any]  # a record of a run or a sweep


@dataclass(frozen=True)
class Sources:
    """Where numbers and pictures come from."""

    records: Path
    docs: Path
    outputs: Path | None = None  # None: pictures from docs only

    @cached_property
    def entries(self) -> dict[str, Entry]:
        """A record of each experiment and sweep: the newest one of the plain command with seed 0, or the newest."""
        found: dict[str, Entry] = {}
        for path in sorted(self.records.rglob("*.json")):
            content, name = files.read_json(path), str(path.relative_to(self.records).with_suffix(""))
            kept = [entry for entry in content if isinstance(entry, dict)] if isinstance(content, list) else []
            plain = [entry for entry in kept if entry.get("command") == f"python train.py experiment={name}"]
            if kept:
                found[name] = (plain or kept)[-1]
        return found

    def picture(self, file: str, shows: str, run: str = "", figure: str = "") -> Picture | None:
        """The figure of the newest complete run of an experiment, or the file in `docs`."""
        runs = self.outputs.glob(f"{run}/*/{layout.METRICS}") if self.outputs is not None and run else ()
        made = [path.parent / "figures" / f"{figure}.png" for path in sorted(runs, reverse=True)]
        return next((Picture(path, shows) for path in (*made, self.docs / file) if path.is_file()), None)


def sections(sources: Sources) -> list[Section]:
    """All sections, filled from the sources."""
    return [_section(part, sources) for part in _content()]


def _content() -> list[dict[str, Any]]:
    texts = [(resources("mnist_gen.student_report") / part).read_text() for part in PARTS]
    return [section for text in texts for section in cast(Any, OmegaConf.to_container(OmegaConf.create(text)))]


def needed_records() -> set[str]:
    """The experiments and sweeps whose records fill the page."""
    return {name for part in _content() for name in _needed(part)}


def _needed(part: Mapping[str, Any]) -> list[str]:
    scored = [run for scores in part.get("scores", ()) for run in scores["runs"]]
    results = part.get("results", {"experiments": ()})["experiments"]
    tables = [record for record, *_ in part.get("tables", ())]
    return list(dict.fromkeys([*scored, *results, *part.get("claims", ()), *tables]))


def _section(part: Mapping[str, Any], sources: Sources) -> Section:
    entries, names, blocks, missing = sources.entries, _needed(part), list[Table | Picture](), []
    for scores in part.get("scores", ()):
        if found := {run: entries[run] for run in scores["runs"] if run in entries}:
            blocks.append(_scores(scores["published"], found))
    if "results" in part:
        blocks += _results(part["results"], entries)
    blocks += _claimed(part, entries)
    for record, file, number, *shows in part.get("tables", ()):
        tables = entries.get(record, {}).get("tables", {}).get(file, [])
        blocks += [Table(_cells(tables[number]), shows="".join(shows))] if number < len(tables) else []
        missing += [f"table {number} of {file} in {record}"] if record in entries and number >= len(tables) else []
    drawn = [
        {"file": _architecture(name), "shows": f"The networks of {name}"} for name in part.get("architectures", ())
    ]
    for wanted in (*drawn, *part.get("pictures", ())):
        picture = sources.picture(**wanted)
        blocks += [picture] if picture is not None else []
        missing += [wanted["file"]] if picture is None else []
    missing = [*(name for name in names if name not in entries), *missing]
    there = [entries[name] for name in names if name in entries]
    commands = [] if missing else [line for entry in there for line in _lines(entry.get("command", ""))]
    return Section(
        part["title"],
        part["says"],
        part["verdict"],
        part["why"],
        blocks,
        missing,
        list(dict.fromkeys(commands)) or part.get("commands", []),
        _conditions(there),
    )


def _lines(command: str | Sequence[str]) -> list[str]:
    return [command] if isinstance(command, str) else list(command)


def draw_architectures(experiments: Sequence[str], folder: Path) -> None:
    """Draws the networks of experiments, a row for each part, without activations."""
    for experiment in experiments:
        with composing([CONF]):
            cfg = compose(CONFIG_NAME, overrides=[f"experiment={experiment}"])
        model = instantiate(pretrained.complete(cfg).model)
        assert isinstance(model, HasExamples)
        networks = {}
        for name, (network, inputs) in model.examples().items():
            passed = layers(network, inputs)
            parts = (_part(part, list(found)) for part, found in groupby(passed, _part_of))
            rows = [(part, boxes) for part, boxes in parts if boxes]
            networks[f"{name}: {sum(layer.parameters for layer in passed):,} parameters"] = rows
        title = f"{experiment}: layers, shapes of their outputs, parameters"
        plots.save(plots.architecture(networks, title), folder / _architecture(experiment))
    files.settle()


def _part_of(layer: Layer) -> str:
    """The name of the part to which a layer belongs; the numbered parts of a sequence are one."""
    name = layer.name.partition(".")[0]
    return "" if name.isdigit() else name


def _part(name: str, found: Sequence[Layer]) -> tuple[str, list[tuple[str, ...]]]:
    """A part of a network: its name with the shapes that it takes and gives, and its layers as lines of text."""
    takes, gives = (_shape(shape) for shape in (found[0].takes, found[-1].shape))
    called = f"{name.replace('_', ' ')}: " if name else ""
    kept = [layer for layer in found if layer.parameters or layer.shape != layer.takes]
    boxes: list[tuple[str, ...]] = [
        (each.kind, _shape(each.shape), f"{each.parameters:,}" if each.parameters else "") for each in kept
    ]
    return f"{called}{takes or 'labels'} \N{RIGHTWARDS ARROW} {gives}", boxes


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _architecture(experiment: str) -> str:
    """The file with the networks of an experiment."""
    return f"architecture_{experiment.replace('/', '_')}.png"


def _cells(lines: Sequence[str]) -> Rows:
    """A table's cells from its lines in Markdown."""
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines if "---" not in line]


def _claimed(part: Mapping[str, Any], entries: Mapping[str, Entry]) -> list[Table]:
    """The claims on which the section's verdict rests, and the others."""
    rows = [row for record, words in part.get("claims", {}).items() for row in _claims(entries.get(record, {}), words)]
    place = {row[0]: number for number, words in enumerate(part.get("rests_on", ())) for row in rows if words in row[0]}
    first = sorted((row for row in rows if row[0] in place), key=lambda row: place[row[0]])
    others = [row for row in rows if row[0] not in place]
    fold = f"{len(others)} more claim{'s' * (len(others) > 1)}" if first else ""
    return [
        Table([[CLAIM, "verdict", "evidence"], *some], title) for some, title in ((first, ""), (others, fold)) if some
    ]


def _claims(entry: Entry, words: Sequence[str]) -> Rows:
    """The rows of a record's tables of claims that contain one of the words."""
    tables = [_cells(table) for file in entry.get("tables", {}).values() for table in file]
    rows = [row for table in tables if table[0][0] == CLAIM for row in table[1:]]
    return [row for row in rows if any(word in row[0] for word in words)]


def _scores(name: str, runs: Mapping[str, Entry]) -> Table:
    """F1 of each digit and accuracy: the student report's and of our runs."""
    theirs = published(name)["test"]
    rows = [["", "student report", *(run.removeprefix("student_report/transfer_") for run in runs)]]
    metrics = [entry["metrics"] for entry in runs.values()]
    for digit in range(NUM_CLASSES):
        ours = [f"{m[key]:.2f}" if (key := f"test/f1_{digit}") in m else "" for m in metrics]
        rows.append([f"F1 of {digit}", f"{theirs['f1'][digit]:.2f}", *ours])
    rows.append(["accuracy", f"{theirs['accuracy']:.3f}", *(f"{m['test/accuracy']:.3f}" for m in metrics)])
    return Table(rows)


def _results(wanted: Mapping[str, Any], entries: Mapping[str, Entry]) -> list[Table]:
    metrics: Mapping[str, str] = wanted["metrics"]
    runs = {name: entries[name]["metrics"] for name in wanted["experiments"] if name in entries}
    if not runs:
        return []
    rows = [[f"{m[key]:.3g}" if key in m else "not measured" for key in metrics.values()] for m in runs.values()]
    return [Table([["experiment", *metrics], *([name, *row] for name, row in zip(runs, rows, strict=True))])]


def _conditions(entries: Sequence[Entry]) -> str:
    """Seeds, processors and commits, each named once."""
    runs = [run for entry in entries for run in (entry, *entry.get("runs", ()))]
    swept = [re.search(r" seed=([\d,]+)", line) for entry in entries for line in _lines(entry.get("command", ""))]
    seeds = {int(run["seed"]) for run in runs if run.get("seed") is not None}
    seeds |= {int(seed) for found in swept if found for seed in found[1].split(",")}
    parts = {
        "seed": [str(seed) for seed in sorted(seeds or {0})] if entries else [],  # a command without a seed uses 0
        "processor": [short_name(str(entry["processor"])) for entry in entries if entry.get("processor")],
        "commit": [str(entry["commit"]) for entry in entries if entry.get("commit")],
    }
    known = {name: list(dict.fromkeys(values)) for name, values in parts.items() if values}
    return "; ".join(f"{name}{'s' * (len(values) > 1)} {', '.join(values)}" for name, values in known.items())


def write(sources: Sources, page: Path) -> list[Section]:
    """Writes the page, and `answer.md` among the pictures if that folder exists."""
    if sources.docs.is_dir():
        draw_architectures([name for part in _content() for name in part.get("architectures", ())], sources.docs)
    parts = sections(sources)
    files.write_now(page, as_html(parts))
    if sources.docs.is_dir():
        files.write_now(sources.docs / "answer.md", as_markdown(sections(Sources(sources.records, sources.docs))))
    return parts
