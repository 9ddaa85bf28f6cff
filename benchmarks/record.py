"""Keeps what finished runs measured, and writes the tables in README and docs from it.

`python -m benchmarks.record outputs/cgan_embed20/<time> outputs/sweeps/<sweep>` adds complete runs to the records.
A run goes to the file of its experiment, a sweep with all its runs to a file of its own. A run with the same command on
the same processor replaces the older one. Then the command writes the tables anew; without a folder, it does only that.

Records marked `rounded` were taken over from older pages, which gave rounded numbers and no commit.
"""

import json
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from benchmarks.tables import PAGES, RECORDS, filled, read
from mnist_gen.runs import layout
from mnist_gen.runs.config import PLACES

ELSEWHERE = ("hydra.", *(f"{key}=" for key in PLACES))  # overrides with paths of one machine
CONDITIONS = ("processor", "cores", "versions", "commit")
MULTIRUN = "multirun.yaml"  # in a sweep's folder


def main() -> None:
    """Adds the runs in the folders of the command line, and writes the tables."""
    for folder in map(Path, sys.argv[1:]):
        if (folder / MULTIRUN).exists():
            keep(f"sweeps/{folder.name}", sweep([folder]))
        else:
            for name, entry in runs(folder):
                keep(name, entry)
    write_tables()


def write_tables() -> None:
    """Writes the tables in README and docs anew."""
    records = read()
    for page in PAGES:
        page.write_text(filled(page.read_text(), records))


def runs(folder: Path) -> list[tuple[str, dict[str, Any]]]:
    """The records of the complete runs in a folder, with their experiments."""
    found = [_run(path.parent) for path in sorted(folder.rglob(layout.METRICS))]
    if not found:
        sys.exit(f"{folder}: no complete run.")
    return found


def sweep(folders: Sequence[Path]) -> dict[str, Any]:
    """The record of sweeps that belong together; the tables of the second and later ones are numbered."""
    entries = [entry for folder in folders for _, entry in runs(folder)]
    conditions = {key: entries[0][key] for key in (*CONDITIONS, "date")}
    of_runs = [
        {key: value for key, value in entry.items() if key not in conditions or value != conditions[key]}
        for entry in entries
    ]
    words = [OmegaConf.load(folder / MULTIRUN).hydra.overrides.task for folder in folders]
    found: dict[str, list[list[str]]] = {}
    for number, folder in enumerate(folders):
        found |= {f"{file}_{number}" if number else file: lines for file, lines in _tables(folder).items()}
    return {"command": [_command(["-m", *each]) for each in words], **conditions, "tables": found, "runs": of_runs}


def _run(folder: Path) -> tuple[str, dict[str, Any]]:
    """A run's experiment, and what the records keep of it."""
    run = json.loads((folder / layout.METRICS).read_text())
    if run["commit"] is None or run["commit"].endswith("dirty"):
        sys.exit(f"{folder}: measured with changes that are not committed; commit them and run again.")
    words = list(OmegaConf.load(folder / ".hydra/overrides.yaml"))
    experiment = next(word.partition("=")[2] for word in words if word.startswith("experiment="))
    entry = {"command": _command(words), "seed": run["seed"], **{key: run[key] for key in CONDITIONS}}
    entry |= {"date": run["finished"][:10], "seconds": run["seconds"], "metrics": run["metrics"]}
    tables = _tables(folder)
    return experiment, entry | ({"tables": tables} if tables else {})


def _command(words: Sequence[str]) -> str:
    """What was typed, without paths and without a seed of 0, which every run has."""
    kept = (word for word in words if not word.startswith(ELSEWHERE) and word != "seed=0")
    return shlex.join(["python", "train.py", *kept])


def _tables(folder: Path) -> dict[str, list[list[str]]]:
    """The lines of each table in the Markdown files of a folder, by file."""
    texts = {path.stem: path.read_text() for path in sorted(folder.glob("*.md"))}
    return {
        name: [block.splitlines() for block in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE)]
        for name, text in texts.items()
    }


def keep(name: str, entry: dict[str, Any]) -> None:
    """Adds a record; it replaces those of the same command on the same processor, and rounded ones of any processor."""
    path = RECORDS / f"{name}.json"
    kept = json.loads(path.read_text()) if path.exists() else []
    kept = [old for old in kept if not _replaces(entry, old)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([*kept, entry], indent=1) + "\n")


def _replaces(new: dict[str, Any], old: dict[str, Any]) -> bool:
    if old.get("rounded"):
        return isinstance(new["command"], list) or new["command"] == old["command"]
    return all(new[key] == old[key] for key in ("command", "processor"))


if __name__ == "__main__":
    main()
