"""Claims of the student report about its GANs, checked against sweeps.

Two settings are compared in pairs of jobs that are otherwise equal, including the seed. Each adversarial loss is judged
separately, because the values of different losses are not comparable.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from scipy.stats import spearmanr

from mnist_gen.data import NUM_CLASSES
from mnist_gen.evaluation.results import COLLAPSED
from mnist_gen.evaluation.verdicts import CONFIDENCE, FAILS, HOLDS, Verdict, jobs_in, joint_verdict, paired_difference
from mnist_gen.runs import layout
from mnist_gen.runs.config import shaping

STRONG = 0.5  # least rank correlation at which a loss tracks image quality
AGREED = 0.9  # share of runs whose rank correlations must agree in sign
CLEAR = 0.9  # least class accuracy of a digit that counts as correct
FACTORS = {  # what is compared, and the config keys that set it
    "label": ("model.label", "model.embedding_dim"),
    "concat": ("model.concat",),
    "activation": ("model.discriminator.activation",),
    "last_layers": ("model.generator.last",),
}
SHAPING = ("seed", "data", "model", "trainer")  # config sections in which compared jobs must otherwise agree

Curve = Mapping[int, float]  # epoch -> value


@dataclass(frozen=True)
class Job:
    """One tested GAN: its folder, configuration, test metrics and curves."""

    folder: Path
    config: Mapping[str, Any]
    metrics: Mapping[str, float]
    history: Mapping[str, Curve]

    @cached_property
    def setting(self) -> Mapping[str, str]:
        """The config keys and values that determine what was trained."""
        return {key: str(value) for key, value in shaping(self.config, SHAPING).items()}

    @property
    def seed(self) -> int:
        return int(self.setting["seed"])

    @property
    def loss(self) -> str:
        """Class name of the adversarial loss."""
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
        return "test/class_accuracy" in self.metrics

    @property
    def concat(self) -> str:
        return self.setting["model.concat"]

    @property
    def activation(self) -> str:
        """Of the discriminator."""
        return self.setting["model.discriminator.activation"]

    @property
    def generator(self) -> str:
        """`latents` for a latent-space GAN, else the decoder's class, its `start` and the last layers."""
        decoder = self.setting.get("model.generator.decoder._target_")
        if decoder is None:
            return "latents"
        start = self.setting.get("model.generator.start")
        return ", ".join(filter(None, (decoder.rpartition(".")[2], start, self.last_layers)))

    @property
    def last_layers(self) -> str:
        """`sigmoid` or `conv_tanh`; empty in a latent-space GAN."""
        return self.setting.get("model.generator.last", "")

    def at_end(self, name: str) -> float:
        """A curve's value at the last epoch."""
        return self.history[name][max(self.history[name])]


def read(folders: Sequence[str]) -> list[Job]:
    """All complete jobs of tested GANs in the folders."""
    return jobs_in(folders, _job)


def _job(record: dict[str, Any], folder: Path) -> Job | None:
    model = record["config"]["model"]
    if model["_target_"] != "mnist_gen.gan.GAN" or "test/fid" not in record["metrics"]:
        return None
    curves = {name: dict(curve) for name, curve in layout.read_part(folder, "history.json", dict).items()}
    return Job(folder, record["config"], record["metrics"], curves)


def judge(jobs: Sequence[Job]) -> list[Verdict]:
    """Verdicts on every claim that the jobs can answer, separately for each adversarial loss."""
    by_loss: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        by_loss[job.loss].append(job)
    return [
        replace(verdict, claim=f"{loss}: {verdict.claim}")
        for loss, same_loss in by_loss.items()
        for verdict in (
            *_tanh(same_loss),
            *_losses(same_loss),
            *_labels([job for job in same_loss if job.conditional]),
        )
    ]


def _tanh(jobs: Sequence[Job]) -> Iterator[Verdict]:
    claim = "a final convolution with tanh brings no improvement"
    for verdict in _compared(claim, jobs, "last_layers", "conv_tanh", "sigmoid", FID):
        yield replace(verdict, verdict={HOLDS: FAILS, FAILS: HOLDS}.get(verdict.verdict, verdict.verdict))


def _labels(jobs: Sequence[Job]) -> Iterator[Verdict]:
    for label in sorted({job.label for job in jobs} - {"onehot"}):
        yield from _better_images(f"{label} gives better images than one-hot", jobs, "label", label, "onehot")
        claim = f"{label} has a lower generator loss than one-hot"
        yield from _compared(claim, jobs, "label", label, "onehot", LOWER_LOSS_G)
    claim = "joining the label before the decoder beats joining it after"
    yield from _better_images(claim, jobs, "concat", "before", "after")
    leaky = ("activation", "leaky_relu", "relu")
    yield from _compared("LeakyReLU lowers the discriminator's loss", jobs, *leaky, LOWER_LOSS_D)
    yield from _compared("LeakyReLU raises the generator's loss", jobs, *leaky, HIGHER_LOSS_G)
    claim = "LeakyReLU in the discriminator gives worse images"
    yield from _better_images(claim, jobs, "activation", "relu", "leaky_relu")
    claim = "LeakyReLU in the discriminator gives sharper images"
    yield from _compared(claim, [job for job in jobs if SHARPNESS.name in job.metrics], *leaky, SHARPNESS)
    shown = [job for job in jobs if (job.label, job.concat) == ("embedding 20", "before")]
    yield from _clear("only the digits 0, 1 and 3 are correct", shown, "relu", {0, 1, 3})
    yield from _clear("with LeakyReLU only the digit 3 is correct", shown, "leaky_relu", {3})


def _clear(claim: str, jobs: Sequence[Job], activation: str, digits: set[int]) -> Iterator[Verdict]:
    """Whether the GANs with this activation generate exactly these digits correctly."""
    metrics = [job.metrics for job in jobs if job.activation == activation]
    if metrics:
        names = [f"test/class_accuracy_{digit}" for digit in range(NUM_CLASSES)]
        shares = [statistics.mean(values[name] for values in metrics) for name in names]
        clear = {digit for digit, share in enumerate(shares) if share >= CLEAR}
        text = ", ".join(f"{digit} {share:.0%}" for digit, share in enumerate(shares))
        yield Verdict(claim, HOLDS if clear == digits else FAILS, f"read as requested: {text}")


@dataclass(frozen=True)
class Metric:
    """A number to compare jobs by.

    Attributes:
        name: of a test metric, or of a curve whose last value counts.
        scale: factor of differences in texts; negative if lower is better.
        unit: of the scaled differences.
    """

    name: str
    scale: float
    unit: str

    def quality(self, job: Job) -> float:
        """The value, negated if lower is better."""
        value = job.metrics[self.name] if self.name.startswith("test/") else job.at_end(self.name)
        return -value if self.scale < 0 else value


CLASS_ACCURACY = Metric("test/class_accuracy", 100, "points of class accuracy")
SHARPNESS = Metric("test/sharpness", 100, "points of real images' sharpness")
FID = Metric("test/fid", -1, "FID")
LOWER_LOSS_G, LOWER_LOSS_D = Metric("train/loss_g", -1, "train/loss_g"), Metric("train/loss_d", -1, "train/loss_d")
HIGHER_LOSS_G = Metric("train/loss_g", 1, "train/loss_g")


def pairs(jobs: Sequence[Job], factor: str, one: str, other: str) -> list[tuple[Job, Job]]:
    """Pairs of jobs that differ only in a factor, which is `one` in the first and `other` in the second."""

    def rest(job: Job) -> frozenset[tuple[str, str]]:
        return frozenset((key, value) for key, value in job.setting.items() if key not in FACTORS[factor])

    left, right = ({rest(job): job for job in jobs if getattr(job, factor) == value} for value in (one, other))
    return [(left[setting], right[setting]) for setting in left if setting in right]


def _compared(claim: str, jobs: Sequence[Job], factor: str, one: str, other: str, *by: Metric) -> Iterator[Verdict]:
    """Whether jobs with `one` beat those with `other` in every metric; if the metrics disagree, it depends."""
    matched = pairs(jobs, factor, one, other)
    if matched:
        differences = [
            paired_difference(
                [m.quality(a) for a, _ in matched], [m.quality(b) for _, b in matched], m.scale, m.unit, "pairs"
            )
            for m in by
        ]
        joint = joint_verdict(verdict for verdict, _ in differences)
        yield Verdict(claim, joint, "; ".join(text for _, text in differences))


def _better_images(claim: str, jobs: Sequence[Job], factor: str, one: str, other: str) -> Iterator[Verdict]:
    """Compares class accuracy and FID, and notes it if all runs collapsed: then the better images are bad too."""
    coverages = [job.metrics["test/coverage"] for pair in pairs(jobs, factor, one, other) for job in pair]
    for verdict in _compared(claim, jobs, factor, one, other, CLASS_ACCURACY, FID):
        highest = max(coverages)
        collapsed = f"; all runs collapsed, coverage at most {highest:.2f}" if highest < COLLAPSED else ""
        yield replace(verdict, evidence=verdict.evidence + collapsed)


def _losses(jobs: Sequence[Job]) -> Iterator[Verdict]:
    """Whether losses rank the epochs of a run, or the variants, as FID and class accuracy do."""
    for loss, network in (("train/loss_g", "generator"), ("train/loss_d", "discriminator")):
        for metric, name in (("val/fid", "FID"), ("val/class_accuracy", "class accuracy")):
            claim = f"the {network}'s loss tracks image quality ({name})"
            yield from _over_epochs(claim, jobs, loss, metric)
            yield from _over_variants(claim, jobs, loss, metric)
    hits = [_lowest(job, "train/loss_g") == _lowest(job, "val/fid") for job in jobs if len(job.history["val/fid"]) > 2]
    if hits:
        verdict = HOLDS if sum(hits) > len(hits) / 2 else FAILS
        claim = "the epoch with the lowest generator loss has the best FID"
        yield Verdict(claim, verdict, f"in {sum(hits)} of {len(hits)} runs")


def _over_epochs(claim: str, jobs: Sequence[Job], loss: str, metric: str) -> Iterator[Verdict]:
    ranks = rank_correlations(jobs, loss, metric)
    if ranks:
        median = statistics.median(ranks)
        agreed = sum(rank * median > 0 for rank in ranks) / len(ranks)
        yield Verdict(
            f"{claim}, over the epochs of a run",
            HOLDS if abs(median) >= STRONG and agreed >= AGREED else FAILS,
            f"rank correlation {median:+.2f} (median of {len(ranks)} runs, {min(ranks):+.2f} to {max(ranks):+.2f})",
        )


def _over_variants(claim: str, jobs: Sequence[Job], loss: str, metric: str) -> Iterator[Verdict]:
    known = [job for job in jobs if metric in job.history]
    losses, values = [job.at_end(loss) for job in known], [job.at_end(metric) for job in known]
    if len(known) >= 4 and _vary(losses, values):
        test = spearmanr(losses, values)
        yield Verdict(
            f"{claim}, over variants",
            HOLDS if abs(test.statistic) >= STRONG and test.pvalue < 1 - CONFIDENCE else FAILS,
            f"rank correlation {test.statistic:+.2f} (p = {test.pvalue:.2g}) at the end of {len(known)} runs",
        )


def rank_correlations(jobs: Sequence[Job], loss: str, metric: str) -> list[float]:
    """Spearman's rank correlation over the epochs of each job; jobs with too few or constant values are left out."""
    common = (common_values(job, loss, metric) for job in jobs)
    return [float(spearmanr(*values).statistic) for values in common if len(values[0]) >= 3 and _vary(*values)]


def _vary(losses: Sequence[float], values: Sequence[float]) -> bool:
    return len(set(losses)) > 1 and len(set(values)) > 1


def common_values(job: Job, loss: str, metric: str) -> tuple[list[float], list[float]]:
    """The values of two curves at the epochs that both contain."""
    first, second = (job.history.get(name, {}) for name in (loss, metric))
    epochs = sorted(first.keys() & second.keys())
    return [first[epoch] for epoch in epochs], [second[epoch] for epoch in epochs]


def _lowest(job: Job, name: str) -> int:
    """The epoch with a curve's lowest value."""
    known = job.history["train/loss_g"].keys() & job.history["val/fid"].keys()
    return min(known, key=lambda epoch: job.history[name][epoch])
