"""What the student report says of its GANs, each sentence held against sweeps over variants of them.

Reads what their jobs left: metrics.json and history.json. Two settings are compared job by job, all else equal, the
seed included; recipes are judged apart, for losses of different kinds cannot be compared.
"""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from scipy.stats import spearmanr

from mnist_gen.data.mnist import NUM_CLASSES
from mnist_gen.evaluation.verdicts import CONFIDENCE, FAILS, HOLDS, Verdict, difference, jobs_in, together
from mnist_gen.runs import layout
from mnist_gen.runs.config import shaping

STRONG = 0.5  # rank correlation from which a loss is taken to say something
AGREED = 0.9  # share of runs that must agree on its sign
CLEAR = 0.9  # class accuracy from which a digit counts as made right
COLLAPSED = 0.05  # coverage below which there are but a few pictures
FACTORS = {  # what is compared, and the keys of the configuration that say it
    "label": ("model.label", "model.embedding_dim"),
    "concat": ("model.concat",),
    "activation": ("model.discriminator.activation",),
    "last_layers": ("model.generator.last",),
}
SHAPING = ("seed", "data", "model", "trainer")  # the parts of a configuration in which other jobs may not differ

Curve = Mapping[int, float]  # of epochs


@dataclass(frozen=True)
class Job:
    """One GAN that was judged: its folder, configuration, test figures and curves."""

    folder: Path
    config: Mapping[str, Any]
    metrics: Mapping[str, float]
    history: Mapping[str, Curve]

    @cached_property
    def setting(self) -> Mapping[str, str]:
        """Keys and values that say what was trained."""
        return {key: str(value) for key, value in shaping(self.config, SHAPING).items()}

    @property
    def loss(self) -> str:
        """The class of its loss, by which recipes are told apart."""
        return self.setting["model.loss._target_"].rpartition(".")[2]

    @property
    def label(self) -> str:
        """`onehot`, `embedding 20`, ..., `50 clusters`, or `no labels`."""
        if clusters := self.setting.get("model.clusters.count"):
            return f"{clusters} clusters"
        kind = self.setting["model.label"]
        names = {"onehot": kind, "None": "no labels"}
        return names.get(kind, f"{kind} {self.setting['model.embedding_dim']}")

    @property
    def conditional(self) -> bool:
        """Whether it was asked for digits."""
        return "test/class_accuracy" in self.metrics

    @property
    def concat(self) -> str:
        """`before` or `after`."""
        return self.setting["model.concat"]

    @property
    def activation(self) -> str:
        """The discriminator's."""
        return self.setting["model.discriminator.activation"]

    @property
    def generator(self) -> str:
        """What makes its images: `codes`, or a decoder's class, where that starts, and what ends it."""
        decoder = self.setting.get("model.generator.decoder._target_")
        if decoder is None:
            return "codes"
        start = self.setting.get("model.generator.start")
        return ", ".join(filter(None, (decoder.rpartition(".")[2], start, self.last_layers)))

    @property
    def last_layers(self) -> str:
        """What ends its generator, `sigmoid` or `conv_tanh`; a generator of codes has none."""
        return self.setting.get("model.generator.last", "")

    def at_end(self, name: str) -> float:
        """A curve's value at the last epoch."""
        return self.history[name][max(self.history[name])]


def read(folders: Sequence[str]) -> list[Job]:
    """The complete jobs of GANs in folders, those that were judged."""
    return jobs_in(folders, _job)


def _job(record: dict[str, Any], folder: Path) -> Job | None:
    model = record["config"]["model"]
    if model["_target_"] != "mnist_gen.gan.GAN" or "test/fid" not in record["metrics"]:
        return None
    curves = {name: dict(curve) for name, curve in layout.read_part(folder, "history.json", dict).items()}
    return Job(folder, record["config"], record["metrics"], curves)


def judge(jobs: Sequence[Job]) -> list[Verdict]:
    """Every claim for which the jobs are there, recipe by recipe."""
    recipes: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        recipes[job.loss].append(job)
    return [verdict for name, alike in recipes.items() for verdict in _of_recipe(name, alike)]


def _of_recipe(name: str, jobs: Sequence[Job]) -> Iterator[Verdict]:
    yield from _tanh(f"{name}: a last convolution and tanh bring no improvement", jobs)
    yield from _losses(name, jobs)
    yield from _of_labels(name, [job for job in jobs if job.conditional])


def _tanh(claim: str, jobs: Sequence[Job]) -> Iterator[Verdict]:
    for verdict in _compared(claim, jobs, "last_layers", "conv_tanh", "sigmoid", FID):
        yield replace(verdict, verdict={HOLDS: FAILS, FAILS: HOLDS}.get(verdict.verdict, verdict.verdict))


def _of_labels(name: str, jobs: Sequence[Job]) -> Iterator[Verdict]:
    embedded = {job.label for job in jobs} - {"onehot"}
    for label in sorted(embedded):
        yield from _better(f"{name}: {label} gives better images than one-hot", jobs, "label", label, "onehot")
        claim = f"{name}: {label} has the lower G loss than one-hot"
        yield from _compared(claim, jobs, "label", label, "onehot", _lower("train/loss_g"))
    yield from _better(f"{name}: before the decoder is better than after it", jobs, "concat", "before", "after")
    leaky = ("activation", "leaky_relu", "relu")
    yield from _compared(f"{name}: LeakyReLU lowers the discriminator's loss", jobs, *leaky, _lower("train/loss_d"))
    yield from _compared(f"{name}: LeakyReLU raises the generator's loss", jobs, *leaky, _higher("train/loss_g"))
    claim = f"{name}: LeakyReLU in the discriminator gives"
    yield from _better(f"{claim} worse images", jobs, "activation", "relu", "leaky_relu")
    yield from _compared(f"{claim} sharper images", [job for job in jobs if SHARP in job.metrics], *leaky, SHARPNESS)
    shown = [job for job in jobs if (job.label, job.concat) == ("embedding 20", "before")]
    yield from _clear(f"{name}: of the digits 0, 1 and 3 are right", shown, "relu", {0, 1, 3})
    yield from _clear(f"{name}: with LeakyReLU no digit but 3 is clear", shown, "leaky_relu", {3})


def _clear(claim: str, jobs: Sequence[Job], activation: str, digits: set[int]) -> Iterator[Verdict]:
    """Whether these are the digits that the jobs with that activation make right."""
    alike = [job for job in jobs if job.activation == activation]
    if alike:
        shares = [
            statistics.mean(job.metrics[f"test/class_accuracy_{digit}"] for job in alike)
            for digit in range(NUM_CLASSES)
        ]
        clear = {digit for digit, share in enumerate(shares) if share >= CLEAR}
        text = ", ".join(f"{digit} {share:.0%}" for digit, share in enumerate(shares))
        yield Verdict(claim, HOLDS if clear == digits else FAILS, f"what is asked for is read: {text}")


@dataclass(frozen=True)
class Figure:
    """A figure by which jobs are compared, the larger the better, and how its differences are written."""

    value: Callable[[Job], float]
    scale: float
    unit: str


CLASS_ACCURACY = Figure(lambda job: job.metrics["test/class_accuracy"], 100, "points of class accuracy")
SHARP = "test/sharpness"
SHARPNESS = Figure(lambda job: job.metrics[SHARP], 100, "points of real images' sharpness")
FID = Figure(lambda job: -job.metrics["test/fid"], -1, "FID")


def _lower(name: str) -> Figure:
    return Figure(lambda job: -job.at_end(name), -1, name)


def _higher(name: str) -> Figure:
    return Figure(lambda job: job.at_end(name), 1, name)


def pairs(jobs: Sequence[Job], factor: str, one: str, other: str) -> list[tuple[Job, Job]]:
    """Jobs that differ in one factor alone."""

    def rest(job: Job) -> frozenset[tuple[str, str]]:
        return frozenset((key, value) for key, value in job.setting.items() if key not in FACTORS[factor])

    left, right = ({rest(job): job for job in jobs if getattr(job, factor) == value} for value in (one, other))
    return [(left[setting], right[setting]) for setting in left if setting in right]


def _compared(claim: str, jobs: Sequence[Job], factor: str, one: str, other: str, *by: Figure) -> Iterator[Verdict]:
    """Whether the jobs with `one` beat those with `other` by each figure; where the figures disagree, it depends."""
    alike = pairs(jobs, factor, one, other)
    if not alike:
        return
    found = [
        difference([f.value(a) for a, _ in alike], [f.value(b) for _, b in alike], f.scale, f.unit, "pairs") for f in by
    ]
    yield Verdict(claim, together(verdict for verdict, _ in found), "; ".join(text for _, text in found))


def _better(claim: str, jobs: Sequence[Job], factor: str, one: str, other: str) -> Iterator[Verdict]:
    """Where all are collapsed, it says so: then the better ones are no good either."""
    coverage = max(
        (job.metrics["test/coverage"] for pair in pairs(jobs, factor, one, other) for job in pair), default=1
    )
    for verdict in _compared(claim, jobs, factor, one, other, CLASS_ACCURACY, FID):
        collapsed = f"; all are collapsed, coverage at most {coverage:.2f}" if coverage < COLLAPSED else ""
        yield replace(verdict, figures=verdict.figures + collapsed)


def _losses(name: str, jobs: Sequence[Job]) -> Iterator[Verdict]:
    """Whether losses rank the epochs of a run, or variants, as FID and class accuracy do."""
    for loss, player in (("train/loss_g", "G"), ("train/loss_d", "D")):
        for figure, what in (("val/fid", "FID"), ("val/class_accuracy", "class accuracy")):
            claim = f"{name}: {player}'s loss says how good the images are ({what})"
            yield from _over_epochs(claim, jobs, loss, figure)
            yield from _over_variants(claim, jobs, loss, figure)
    hits = [_lowest(job, "train/loss_g") == _lowest(job, "val/fid") for job in jobs if len(job.history["val/fid"]) > 2]
    if hits:
        text = f"in {sum(hits)} of {len(hits)} runs"
        claim = f"{name}: the epoch with the lowest G loss is the best one (FID)"
        yield Verdict(claim, HOLDS if sum(hits) > len(hits) / 2 else FAILS, text)


def _over_epochs(claim: str, jobs: Sequence[Job], loss: str, figure: str) -> Iterator[Verdict]:
    ranks = rank_correlations(jobs, loss, figure)
    if not ranks:
        return
    middle = statistics.median(ranks)
    agreed = sum(rank * middle > 0 for rank in ranks) / len(ranks)
    yield Verdict(
        f"{claim}, over the epochs of a run",
        HOLDS if abs(middle) >= STRONG and agreed >= AGREED else FAILS,
        f"rank correlation {middle:+.2f} (median of {len(ranks)} runs, {min(ranks):+.2f} to {max(ranks):+.2f})",
    )


def _over_variants(claim: str, jobs: Sequence[Job], loss: str, figure: str) -> Iterator[Verdict]:
    known = [job for job in jobs if figure in job.history]
    losses, values = [job.at_end(loss) for job in known], [job.at_end(figure) for job in known]
    if len(known) < 4 or len({*losses}) == 1 or len({*values}) == 1:
        return
    found = spearmanr(losses, values)
    yield Verdict(
        f"{claim}, over variants",
        HOLDS if abs(found.statistic) >= STRONG and found.pvalue < 1 - CONFIDENCE else FAILS,
        f"rank correlation {found.statistic:+.2f} (p = {found.pvalue:.2g}) at the end of {len(known)} runs",
    )


def rank_correlations(jobs: Sequence[Job], loss: str, figure: str) -> list[float]:
    """That of each job that has one."""
    return [rank for job in jobs if (rank := rank_correlation(job, loss, figure)) is not None]


def rank_correlation(job: Job, loss: str, figure: str) -> float | None:
    """Spearman's, over the epochs at which both are known; None for fewer than three, or where one never changes."""
    losses, values = both(job, loss, figure)
    if len(losses) < 3 or len({*losses}) == 1 or len({*values}) == 1:
        return None
    return float(spearmanr(losses, values).statistic)


def both(job: Job, loss: str, figure: str) -> tuple[list[float], list[float]]:
    """Two curves' values at the epochs at which both are known."""
    first, second = (job.history.get(name, {}) for name in (loss, figure))
    epochs = sorted(first.keys() & second.keys())
    losses, values = ([curve[epoch] for epoch in epochs] for curve in (first, second))
    return losses, values


def _lowest(job: Job, name: str) -> int:
    known = job.history["train/loss_g"].keys() & job.history["val/fid"].keys()
    return min(known, key=lambda epoch: job.history[name][epoch])
