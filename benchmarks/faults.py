"""Faults that a run must survive: kills, full disks, signals, crafted files, fuzzed overrides.

`python benchmarks/faults.py` tries all of them, `python benchmarks/faults.py kills signals` these alone. Prints a table
and keeps it in `benchmarks/records/faults.json`; exits with 1 if something was not survived. Needs the `dev` extra.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: two runs side by side, each with the same roundings

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

from benchmarks.outcome import HEAD, SECTIONS, Outcome  # noqa: E402

RECORD = Path(__file__).parent / "records" / "faults.json"
Section = Callable[[Path], Iterator[Outcome]]


def sections() -> dict[str, Section]:
    """What can be tried, in this order."""
    from benchmarks.crafted_files import crafted_files
    from benchmarks.fuzzed_overrides import fuzzed_overrides
    from benchmarks.killed_runs import full_disks, kills
    from benchmarks.signalled_runs import signals

    return dict(zip(SECTIONS, (crafted_files, fuzzed_overrides, kills, full_disks, signals), strict=True))


def main() -> None:
    """Tries, prints, keeps."""
    known = sections()
    chosen = sys.argv[1:] or list(known)
    if unknown := [name for name in chosen if name not in known]:
        sys.exit(f"{', '.join(unknown)}: choose from {', '.join(known)}.")
    kept = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    survived = True
    print(HEAD, flush=True)
    for name in chosen:
        start = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="faults_") as folder:
            found = list(known[name](Path(folder)))
        for outcome in found:
            print(outcome.row, flush=True)
            for complaint in outcome.complaints[:5]:
                print(f"    {complaint}", file=sys.stderr)
        survived = survived and all(outcome.tried == outcome.survived for outcome in found)
        minutes = round((time.monotonic() - start) / 60, 1)
        kept[name] = {
            "outcomes": [outcome.record() for outcome in found],
            "minutes": minutes,
            **conditions(f"python benchmarks/faults.py {name}"),
        }
        RECORD.parent.mkdir(exist_ok=True)
        RECORD.write_text(json.dumps(kept, indent=1) + "\n")
    sys.exit(not survived)


def conditions(command: str) -> dict[str, object]:
    """When, by which code and on what machine something was tried."""
    from mnist_gen.system.devices import processor

    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":!benchmarks/records")  # by a section before
    return {
        "command": command,
        "commit": _git("describe", "--always") + ("-dirty" if changed else ""),
        "date": datetime.now(UTC).date().isoformat(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in ("torch", "lightning", "hydra-core")}
        | {"python": platform.python_version()},
    }


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    main()
