"""Complete runs of translators, read from sweeps over `translate_*` and `bottleneck/*`, and a table of their metrics.

Jobs that differ only in the seed form one cell of the table.
"""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mnist_gen.data.pairs import PAIRINGS
from mnist_gen.evaluation.verdicts import Job, jobs_in
from mnist_gen.runs import tables

GAN, CYCLE, REGRESSION = "GAN-like", "CycleGAN", "regression"
CONDITIONAL, CONDITIONAL_WITHOUT_L1 = "conditional GAN", "conditional GAN without L1"
STRATEGIES = (GAN, CONDITIONAL, CONDITIONAL_WITHOUT_L1, CYCLE, REGRESSION)
FORMATS = {"fid": "{:.3f}", "correspondence": "{:.1%}", "retrieval": "{:.1%}", "l1": "{:.4f}", "ssim": "{:.3f}"}

Setting = frozenset[tuple[str, str]]
Jobs = Sequence["TranslationJob"]
Cells = Mapping[tuple[str, str], Jobs]  # (strategy, pairing) -> one job per seed


@dataclass(frozen=True)
class TranslationJob(Job):
    """A tested translator."""

    @property
    def strategy(self) -> str:
        """One of `STRATEGIES`."""
        strategy = self.config["model"]["strategy"]
        if strategy["cycle"]:
            return CYCLE
        if strategy["sees"] == "pairs":
            return CONDITIONAL if strategy["l1"] else CONDITIONAL_WITHOUT_L1
        return REGRESSION if strategy["sees"] == "nothing" else GAN

    @property
    def pairing(self) -> str:
        """One of `PAIRINGS`; pairs with deformed counterparts count as loose."""
        pairing = str(self.config["data"]["pairing"])
        return "loose" if pairing == "paired" and self.config["data"].get("deform") else pairing

    @property
    def kind(self) -> str:
        """The class of its rendering, such as `outline`, or the data set that it translates into."""
        data = self.config["data"]
        return data["other"] if "other" in data else data["rendering"]["_target_"].rpartition(".")[2].lower()

    @property
    def rendering(self) -> str:
        """Its kind and options, such as `outline, width 1`."""
        options = {key: value for key, value in self.config["data"].get("rendering", {}).items() if key != "_target_"}
        return ", ".join([self.kind, *(f"{key} {value}" for key, value in options.items())])

    @property
    def other_settings(self) -> Setting:
        """The setting without pairing and rendering."""
        excluded = ("data.pairing", "data.rendering")
        return frozenset((key, value) for key, value in self.setting.items() if not key.startswith(excluded))

    def of_floor(self, metric: str) -> float:
        """A test metric as a multiple of the real-data floor."""
        return self.metrics[f"test/{metric}"] / self.metrics[f"floor/{metric}"]


def read(folders: Sequence[str]) -> list[TranslationJob]:
    """The complete jobs of translators in folders; of jobs with equal settings and seed, the first."""
    jobs: dict[tuple[int, Setting], TranslationJob] = {}
    for job in jobs_in(folders, "mnist_gen.translation.Translation", _job):
        jobs.setdefault((job.seed, frozenset(job.setting.items())), job)
    return sorted(
        jobs.values(),
        key=lambda job: (job.rendering, STRATEGIES.index(job.strategy), PAIRINGS.index(job.pairing), job.seed),
    )


def _job(job: Job) -> TranslationJob:
    return TranslationJob(job.folder, job.config, job.metrics)


def table(jobs: Jobs) -> str:
    """Means and standard deviations over seeds, a row for each rendering with its settings, strategy and pairing."""
    rows = [
        (name, *key, *(mean_and_deviation(cell, metric) for metric in FORMATS), str(len(cell)))
        for name, cells in cells_by_rendering(jobs).items()
        for key, cell in cells.items()
    ]
    return tables.markdown(("rendering", "strategy", "data", *FORMATS, "seeds"), rows)


def _varied_keys(jobs: Jobs) -> set[str]:
    """Keys, except pairing and rendering, that differ between jobs of one strategy.

    Differences between strategies only, such as weights or the length of training, belong to each one's recipe.
    """
    settings = defaultdict[str, list[Setting]](list)
    for job in jobs:
        settings[job.strategy].append(job.other_settings)
    return {key for group in settings.values() for key, _ in frozenset.union(*group) - frozenset.intersection(*group)}


def _varied_values(job: TranslationJob, keys: set[str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(job.other_settings) if key in keys)


def cells_by_rendering(jobs: Jobs) -> dict[str, Cells]:
    """The cells of each rendering, split by any other settings that vary."""
    varied, cells = _varied_keys(jobs), defaultdict[str, dict[tuple[str, str], list[TranslationJob]]](dict)
    for job in jobs:
        name = "; ".join(filter(None, (job.rendering, _varied_values(job, varied))))
        cells[name].setdefault((job.strategy, job.pairing), []).append(job)
    return dict(cells)


def mean_and_deviation(jobs: Jobs, metric: str) -> str:
    """A test metric's mean and standard deviation over jobs; empty if no job has it."""
    values, form = values_of(jobs, metric), FORMATS[metric]
    if not values:
        return ""
    deviation = f" ± {form.format(statistics.stdev(values))}" if len(values) > 1 else ""
    return form.format(statistics.mean(values)) + deviation


def values_of(jobs: Jobs, metric: str) -> list[float]:
    """A test metric of each job that has it."""
    return [job.metrics[f"test/{metric}"] for job in jobs if f"test/{metric}" in job.metrics]
