"""Translators that were judged, read from what jobs of `translate_*` and `bottleneck/*` left, and their table.

Jobs that differ in nothing but the seed are one cell of a table.
"""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mnist_gen.data.pairs import PAIRINGS
from mnist_gen.evaluation.verdicts import jobs_in
from mnist_gen.runs import tables
from mnist_gen.runs.config import shaping

GAN, CYCLE, REGRESSION = "GAN-like", "CycleGAN", "regression"
CONDITIONAL, CONDITIONAL_WITHOUT_L1 = "conditional GAN", "conditional GAN without L1"
STRATEGIES = (GAN, CONDITIONAL, CONDITIONAL_WITHOUT_L1, CYCLE, REGRESSION)
FIGURES = {"fid": "{:.3f}", "correspondence": "{:.1%}", "retrieval": "{:.1%}", "l1": "{:.4f}", "ssim": "{:.3f}"}

Setting = frozenset[tuple[str, str]]
Cells = Mapping[tuple[str, str], Sequence["Job"]]  # of a strategy and a pairing, a job a seed


@dataclass(frozen=True)
class Job:
    """One translator that was judged: its folder, configuration, test figures, and those of the true counterparts."""

    folder: Path
    config: Mapping[str, Any]
    test: Mapping[str, float]
    floor: Mapping[str, float]

    @cached_property
    def setting(self) -> Mapping[str, str]:
        """Keys and values that say what was trained, but for the seed."""
        found = shaping(self.config, ("data", "model", "trainer"))
        return {key: str(value) for key, value in found.items() if key != "data.seed"}

    @property
    def strategy(self) -> str:
        """One of `STRATEGIES`."""
        weights = self.config["model"]["strategy"]
        if weights["cycle"]:
            return CYCLE
        if weights["sees"] == "nothing":
            return REGRESSION
        if weights["sees"] == "outputs":
            return GAN
        return CONDITIONAL if weights["l1"] else CONDITIONAL_WITHOUT_L1

    @property
    def seed(self) -> int:
        """Of everything."""
        return int(self.config["data"]["seed"])

    @property
    def pairing(self) -> str:
        """One of `PAIRINGS`; a counterpart that was deformed is a loose one."""
        met = str(self.config["data"]["pairing"])
        return "loose" if met == "paired" and self.config["data"].get("deform") else met

    @property
    def kind(self) -> str:
        """The class of its rendering, such as `outline`; or the set that it translates into."""
        data = self.config["data"]
        return data["other"] if "other" in data else data["rendering"]["_target_"].rpartition(".")[2].lower()

    @property
    def rendering(self) -> str:
        """Its class and options, such as `outline, width 1`."""
        options = {key: value for key, value in self.config["data"].get("rendering", {}).items() if key != "_target_"}
        return ", ".join([self.kind, *(f"{key} {value}" for key, value in options.items())])

    @property
    def rest(self) -> Setting:
        """What else was set."""
        apart_from = ("data.pairing", "data.rendering")
        return frozenset((key, value) for key, value in self.setting.items() if not key.startswith(apart_from))


def read(folders: Sequence[str]) -> list[Job]:
    """The complete jobs of translators in folders; of two alike, seed and all, the first."""
    jobs: dict[Setting, Job] = {}
    for job in jobs_in(folders, _job):
        jobs.setdefault(frozenset({**job.setting, "data.seed": str(job.seed)}.items()), job)
    return sorted(
        jobs.values(),
        key=lambda job: (job.rendering, STRATEGIES.index(job.strategy), PAIRINGS.index(job.pairing), job.seed),
    )


def _job(record: dict[str, Any], folder: Path) -> Job | None:
    if record["config"].get("model", {}).get("_target_") != "mnist_gen.translation.Translation":
        return None
    test, floor = (
        {name.removeprefix(group): value for name, value in record["metrics"].items() if name.startswith(group)}
        for group in ("test/", "floor/")
    )
    return Job(folder, record["config"], test, floor)


def table(jobs: Sequence[Job]) -> str:
    """Means and standard deviations over seeds, a row a setting; in the fourth column what else differs."""
    cells: dict[Setting, list[Job]] = {}
    for job in jobs:
        cells.setdefault(frozenset(job.setting.items()), []).append(job)
    varied = _varied(jobs)
    rows = []
    for alike in cells.values():
        job = alike[0]
        other = _words(job, varied)
        figures = [spread(alike, name) for name in FIGURES]
        rows.append((job.rendering, job.strategy, job.pairing, other, *figures, str(len(alike))))
    return tables.markdown(("rendering", "strategy", "data", "other", *FIGURES, "seeds"), rows)


def _varied(jobs: Sequence[Job]) -> set[str]:
    """Keys beside pairing and rendering that differ between jobs of one strategy.

    What differs between strategies alone, such as weights or how long they train, is each one's own recipe.
    """
    settings = defaultdict[str, list[Setting]](list)
    for job in jobs:
        settings[job.strategy].append(job.rest)
    return {key for alike in settings.values() for key, _ in frozenset.union(*alike) - frozenset.intersection(*alike)}


def _words(job: Job, keys: set[str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(job.rest) if key in keys)


def boards(jobs: Sequence[Job]) -> dict[str, Cells]:
    """Jobs by strategy and pairing, for each rendering and setting beside it, whose names are the keys."""
    varied, found = _varied(jobs), defaultdict[str, dict[tuple[str, str], list[Job]]](dict)
    for job in jobs:
        name = "; ".join(part for part in (job.rendering, _words(job, varied)) if part)
        found[name].setdefault((job.strategy, job.pairing), []).append(job)
    return dict(found)


def spread(jobs: Sequence[Job], figure: str) -> str:
    """A figure's mean over jobs, and its deviation; empty if they do not have it."""
    found, form = values(jobs, figure), FIGURES[figure]
    if not found:
        return ""
    deviation = f" ± {form.format(statistics.stdev(found))}" if len(found) > 1 else ""
    return form.format(statistics.mean(found)) + deviation


def values(jobs: Sequence[Job], figure: str) -> list[float]:
    """A test figure of each job that has it."""
    return [job.test[figure] for job in jobs if figure in job.test]
