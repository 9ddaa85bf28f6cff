"""Repeats the measurements of the documentation, then writes records, tables, pictures and the answer.

`python benchmarks/reproduce.py` does all that the answer to the student report needs; `... all` does everything in
`docs`, and `... main_experiment sweeps/claims` these measurements of `reproduce.yaml`. `--parallel` runs the jobs of a
sweep side by side.

Stop it at any time: the same command skips complete jobs and continues interrupted ones. Commit your changes first, as
records name a commit. They are written at the end, because they change files of the repository.
"""

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

from omegaconf import OmegaConf

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

from benchmarks import record, tables  # noqa: E402
from mnist_gen.runs.overview import described  # noqa: E402
from mnist_gen.runs.records import commit  # noqa: E402
from mnist_gen.student_report.answer import needed_records  # noqa: E402

DONE = "done.json"  # in a measurement's folder: what it took
SWEEPS = "sweeps/"
NUMBERED = "hydra.sweep.subdir=${hydra.job.num}"  # folders of jobs, by which `pictures` names them


@dataclass(frozen=True)
class Measurement:
    """Jobs that are run, recorded and drawn together; see `reproduce.yaml`."""

    name: str
    jobs: Sequence[str]
    claims: bool = False
    runs: bool = False
    pictures: dict[str, str] = field(default_factory=dict)

    @property
    def records(self) -> set[str]:
        """The records that it writes."""
        swept = {self.name} if self.name.startswith(SWEEPS) else set()
        return swept | (self.experiments if self.runs or not swept else set())

    @property
    def experiments(self) -> set[str]:
        """Those of its jobs."""
        words = [word for line in self.jobs for word in shlex.split(line) if word.startswith("experiment=")]
        names = [name for word in words for name in word.removeprefix("experiment=").split(",")]
        patterns = [name.removeprefix("glob(").removesuffix(")") for name in names]
        return {name for name in described([ROOT / "conf"]) for pattern in patterns if fnmatch(name, pattern)}

    def seconds(self, records: tables.Records) -> float:
        """What it took at least, by its sweep's record or else by one run of each experiment; 0 if no record says."""
        names = {self.name} if self.name in records else self.records
        entries = [records[name][-1] for name in names if records.get(name)]
        return sum(sum(run.get("seconds", {}).values()) for entry in entries for run in (entry, *entry.get("runs", ())))

    def measure(self, folder: Path, parallel: bool) -> bool:
        """Runs its jobs, and judges the claims; False if something failed."""
        folders, started = self.folders(folder), time.monotonic()
        parallel = parallel and not self.runs and self.name.startswith(SWEEPS)  # times of single runs are recorded
        extra = ["hydra/launcher=joblib"] if parallel else []
        for words, into in zip(self.jobs, folders, strict=True):
            if train("-m", *shlex.split(words), f"hydra.sweep.dir={into}", NUMBERED, *extra):
                return False
        if self.claims and train("task=claims", f"sweep=[{','.join(map(str, folders))}]"):
            return False
        (folder / DONE).write_text(json.dumps({"seconds": round(time.monotonic() - started)}))
        return True

    def folders(self, folder: Path) -> list[Path]:
        """One for each sweep."""
        return [folder / str(number) for number in range(len(self.jobs))]

    def keep(self, folder: Path) -> list[str]:
        """Adds what it measured to the records, and its pictures to `docs`; returns the figures that are missing."""
        if self.name.startswith(SWEEPS):
            record.keep(self.name, record.sweep(self.folders(folder)))
        if self.runs or not self.name.startswith(SWEEPS):
            for name, entry in record.runs(folder):
                record.keep(name, entry)
        drawn = {picture: folder / figure for picture, figure in self.pictures.items()}
        for picture, figure in drawn.items():
            if figure.exists():
                shutil.copyfile(figure, ROOT / "docs" / picture)
        return [str(figure) for figure in drawn.values() if not figure.exists()]


def measurements() -> dict[str, Measurement]:
    """Those of `reproduce.yaml`, by name."""
    read = OmegaConf.to_container(OmegaConf.load(Path(__file__).with_suffix(".yaml")))
    assert isinstance(read, list)
    return {each["name"]: Measurement(**each) for each in read}


def train(*words: str) -> int:
    """Runs train.py."""
    return subprocess.run([sys.executable, "train.py", *words], cwd=ROOT, check=False).returncode


def main() -> None:
    """Measures, records, draws."""
    known = measurements()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="measurement", help=f"all, or some of {', '.join(known)}")
    parser.add_argument("--parallel", action="store_true", help="jobs of a sweep side by side, one per core")
    parser.add_argument("--into", type=Path, default=ROOT / "outputs" / "reproduce", help="folder of the runs")
    wanted = parser.parse_args()
    if unknown := [name for name in wanted.names if name not in (*known, "all")]:
        parser.error(f"{', '.join(unknown)}: choose from all, {', '.join(known)}")
    needed = needed_records()
    chosen = [
        each
        for each in known.values()
        if each.name in wanted.names or "all" in wanted.names or (not wanted.names and each.records & needed)
    ]
    sys.exit(_reproduce(chosen, wanted.into.resolve(), wanted.parallel))


def _reproduce(chosen: Sequence[Measurement], into: Path, parallel: bool) -> int:
    """Returns 1 if a measurement failed or a figure is missing."""
    if str(commit()).endswith("dirty"):
        print("There are changes that are not committed, and records name a commit: commit them first.")
        return 1
    records, failed = tables.read(), []
    for number, each in enumerate(chosen):
        if (into / each.name / DONE).exists():
            continue
        left = sum(later.seconds(records) for later in chosen[number:] if not (into / later.name / DONE).exists())
        print(f"\n[{number + 1} of {len(chosen)}] {each.name}: at least {_span(left)} left for all\n", flush=True)
        if not each.measure(into / each.name, parallel):
            failed.append(each.name)
    complete = [each for each in chosen if (into / each.name / DONE).exists()]
    missing = [figure for each in complete for figure in each.keep(into / each.name)]
    record.write_tables()
    took = sum(json.loads((into / each.name / DONE).read_text())["seconds"] for each in complete)
    print(f"\n{len(complete)} of {len(chosen)} measurements are recorded; their jobs took {_span(took)}.")
    if failed:
        print(f"Failed, run the same command again: {', '.join(failed)}")
    if missing:
        print(f"No such figure: {', '.join(missing)}")
    return int(train("task=answer") != 0 or bool(failed or missing))


def _span(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds > 5400 else f"{max(1, round(seconds / 60))} minutes"


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nStopped; the same command continues.")
