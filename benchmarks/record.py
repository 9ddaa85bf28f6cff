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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from benchmarks.tables import PAGES, RECORDS, filled, read
from mnist_gen.runs import layout
from mnist_gen.runs.config import PLACES

ELSEWHERE = ("hydra.", *(f"{key}=" for key in PLACES))  # overrides with paths of one machine
CONDITIONS = ("processor", "cores", "versions", "commit")


def main() -> None:
    """Adds the runs in the folders of the command line, and writes the tables."""
    for folder in map(Path, sys.argv[1:]):
        for name, entry in entries(folder):
            _keep(name, entry)
    records = read()
    for page in PAGES:
        page.write_text(filled(page.read_text(), records))


def entries(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The records of the complete runs or the sweep in a folder, with the names of their files."""
    runs = [_run(path.parent) for path in sorted(folder.rglob(layout.METRICS))]
    if not runs:
        sys.exit(f"{folder}: no complete run.")
    if not (folder / "multirun.yaml").exists():
        yield from runs
        return
    conditions = {key: runs[0][1][key] for key in (*CONDITIONS, "date")}
    words = OmegaConf.load(folder / "multirun.yaml").hydra.overrides.task
    of_runs = [
        {key: value for key, value in run.items() if key not in conditions or value != conditions[key]}
        for _, run in runs
    ]
    yield (
        f"sweeps/{folder.name}",
        {"command": [_command(["-m", *words])], **conditions, "tables": _tables(folder), "runs": of_runs},
    )


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
    return shlex.join(["python", "train.py", *(word for word in words if not word.startswith(ELSEWHERE))])


def _tables(folder: Path) -> dict[str, list[list[str]]]:
    """The lines of each table in the Markdown files of a folder, by file."""
    texts = {path.stem: path.read_text() for path in sorted(folder.glob("*.md"))}
    return {
        name: [block.splitlines() for block in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE)]
        for name, text in texts.items()
    }


def _keep(name: str, entry: dict[str, Any]) -> None:
    path = RECORDS / f"{name}.json"
    kept = json.loads(path.read_text()) if path.exists() else []
    kept = [old for old in kept if any(old[key] != entry[key] for key in ("command", "processor"))]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([*kept, entry], indent=1) + "\n")


if __name__ == "__main__":
    main()
