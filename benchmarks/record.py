"""Keeps what finished runs measured, and writes the tables in README and docs from it.

`python benchmarks/record.py outputs/cgan_embed20/<time> outputs/sweeps/<sweep>` adds the complete runs in these folders
to `benchmarks/records`, one file per experiment, and writes the tables anew. A run with the same command on the same
processor replaces the older one. Without a folder, the command only writes the tables.

Records marked `rounded` were taken over from older pages, which gave rounded numbers and no commit.
"""

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from tables import PAGES, RECORDS, ROOT, filled, read

from mnist_gen.runs import layout
from mnist_gen.runs.config import PLACES

MACHINE = ("hydra.", "trainer=", *(f"{key}=" for key in PLACES))  # overrides that a record leaves out


def main() -> None:
    """Adds the runs in the folders of the command line, and writes the tables."""
    found = [path.parent for folder in sys.argv[1:] for path in sorted(Path(folder).rglob(layout.METRICS))]
    if sys.argv[1:] and not found:
        sys.exit(f"{' '.join(sys.argv[1:])}: no complete run.")
    for folder in found:
        _keep(*_entry(folder))
    for folder in map(Path, sys.argv[1:]):
        if (folder / "multirun.yaml").exists():
            _keep(f"sweeps/{folder.name}", _sweep(folder))
    for page in PAGES:
        path = ROOT / page
        path.write_text(filled(path.read_text(), read()))


def _entry(folder: Path) -> tuple[str, dict[str, Any]]:
    """A run's experiment, and what the records keep of it."""
    run = json.loads((folder / layout.METRICS).read_text())
    if run["commit"] is None or run["commit"].endswith("dirty"):
        sys.exit(f"{folder}: measured with changes that are not committed; commit them and run again.")
    words = list(OmegaConf.load(folder / ".hydra/overrides.yaml"))
    experiment = next(word.partition("=")[2] for word in words if word.startswith("experiment="))
    command = shlex.join(["python", "train.py", *(word for word in words if not word.startswith(MACHINE))])
    tables = _tables_in(folder)
    return experiment, {
        "command": command,
        "seed": run["seed"],
        "processor": run["processor"],
        "cores": run["cores"],
        "versions": run["versions"],
        "commit": run["commit"],
        "date": run["finished"][:10],
        "seconds": run["seconds"],
        "metrics": run["metrics"],
        **({"tables": tables} if tables else {}),
    }


def _sweep(folder: Path) -> dict[str, Any]:
    """What the records keep of a whole sweep: its command and the tables that it and its claims left."""
    _, entry = _entry(next(folder.rglob(layout.METRICS)).parent)
    words = OmegaConf.load(folder / "multirun.yaml").hydra.overrides.task
    command = shlex.join(["python", "train.py", "-m", *words])
    return entry | {"command": [command], "seconds": {}, "metrics": {}, "tables": _tables_in(folder)}


def _tables_in(folder: Path) -> dict[str, list[list[str]]]:
    return {path.stem: _tables(path.read_text()) for path in sorted(folder.glob("*.md"))}


def _tables(text: str) -> list[list[str]]:
    """The lines of each table in a Markdown text."""
    return [block.splitlines() for block in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE)]


def _keep(experiment: str, entry: dict[str, Any]) -> None:
    path = RECORDS / f"{experiment}.json"
    kept = json.loads(path.read_text()) if path.exists() else []
    same = ("command", "processor")
    kept = [old for old in kept if any(old[key] != entry[key] for key in same)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([*kept, entry], indent=1) + "\n")


if __name__ == "__main__":
    main()
