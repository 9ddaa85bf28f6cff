"""Claims of the student report about its GANs, checked against sweeps.

Two settings are compared in pairs of jobs that are otherwise equal, including the seed. Each adversarial loss is judged
separately, because the values of different losses are not comparable.
"""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from scipy.stats import spearmanr

from mnist_gen.data import NUM_CLASSES
from mnist_gen.evaluation.results import COLLAPSED
from mnist_gen.evaluation.verdicts import CONFIDENCE, FAILS, HOLDS, Job, Verdict, jobs_in, joint, paired_difference
from mnist_gen.runs import layout

STRONG = 0.5  # least rank correlation at which a loss tracks image quality
AGREED = 0.9  # share of runs whose rank correlations must agree in sign
CLEAR = 0.9  # least class accuracy of a digit that counts as correct
LABEL, CONCAT = "model.label", "model.concat"
ACTIVATION, LAST = "model.discriminator.activation", "model.generator.last"

Curve = Mapping[int, float]  # epoch -> value


@dataclass(frozen=True)
class GANJob(Job):
    """A tested GAN and its curves."""

    history: Mapping[str, Curve]

    @cached_property
    def setting(self) -> dict[str, str]:
        """As `Job.setting`; the label is `onehot`, `embedding 20`, ..., `50 clusters`, or `no labels`."""
        setting = dict(super().setting)
        size, clusters = setting.pop("model.embedding_dim"), setting.get("model.pseudo_labels.count")
        names = {"embedding": f"embedding {size}", "None": "no labels"}
        kind = setting[LABEL]
        return setting | {LABEL: f"{clusters} clusters" if clusters else names.get(kind, kind)}

    @property
    def loss(self) -> str:
        """Class name of the adversarial loss."""
        return self.setting["model.loss._target_"].rpartition(".")[2]

    @property
    def conditional(self) -> bool:
        return "test/class_accuracy" in self.metrics

    def at_end(self, name: str) -> float:
        """A curve's value at the last epoch."""
        return self.history[name][max(self.history[name])]


def read(folders: Sequence[str]) -> list[GANJob]:
    """All complete jobs of GANs in the folders that were compared with real images."""
    jobs = jobs_in(folders, "mnist_gen.gan.GAN", _with_curves)
    return [job for job in jobs if "test/fid" in job.metrics]


def _with_curves(job: Job) -> GANJob:
    curves = {name: dict(curve) for name, curve in layout.read_part(job.folder, "history.json", dict).items()}
    return GANJob(job.folder, job.config, job.metrics, curves)


def judge(jobs: Sequence[GANJob]) -> list[Verdict]:
    """Verdicts on every claim that the jobs can answer, separately for each adversarial loss."""
    groups = [[job for job in jobs if job.loss == loss] for loss in dict.fromkeys(job.loss for job in jobs)]
    return [
        replace(verdict, claim=f"{_name(group)}: {verdict.claim}")
        for group in groups
        for claims in (_tanh, _losses, _labels)
        for verdict in claims(group)
    ]


def _name(jobs: Sequence[GANJob]) -> str:
    """The loss of all these jobs, and whether none has labels."""
    return jobs[0].loss if any(job.conditional for job in jobs) else f"{jobs[0].loss}, without labels"


def _tanh(jobs: Sequence[GANJob]) -> Iterator[Verdict]:
    claim = "a final convolution with tanh brings no improvement"
    for verdict in _compared(claim, jobs, LAST, "conv_tanh", "sigmoid", FID):
        yield replace(verdict, verdict={HOLDS: FAILS, FAILS: HOLDS}.get(verdict.verdict, verdict.verdict))


def _labels(jobs: Sequence[GANJob]) -> Iterator[Verdict]:
    jobs = [job for job in jobs if job.conditional]
    for label in sorted({job.setting[LABEL] for job in jobs} - {"onehot"}):
        yield from _better_images(f"{label} gives better images than one-hot", jobs, LABEL, label, "onehot")
        claim = f"{label} has a lower generator loss than one-hot"
        yield from _compared(claim, jobs, LABEL, label, "onehot", LOWER_LOSS_G)
    claim = "joining the label before the decoder beats joining it after"
    yield from _better_images(claim, jobs, CONCAT, "before", "after")
    leaky = (ACTIVATION, "leaky_relu", "relu")
    yield from _compared("LeakyReLU lowers the discriminator's loss", jobs, *leaky, LOWER_LOSS_D)
    yield from _compared("LeakyReLU raises the generator's loss", jobs, *leaky, HIGHER_LOSS_G)
    claim = "ReLU in the discriminator gives better images than LeakyReLU"
    yield from _better_images(claim, jobs, ACTIVATION, "relu", "leaky_relu")
    claim = "LeakyReLU in the discriminator gives sharper images"
    yield from _compared(claim, [job for job in jobs if SHARPNESS.name in job.metrics], *leaky, SHARPNESS)
    shown = [job for job in jobs if (job.setting[LABEL], job.setting[CONCAT]) == ("embedding 20", "before")]
    yield from _clear("only the digits 0, 1 and 3 are correct", shown, "relu", {0, 1, 3})
    yield from _clear("with LeakyReLU only the digit 3 is correct", shown, "leaky_relu", {3})


def _clear(claim: str, jobs: Sequence[GANJob], activation: str, digits: set[int]) -> Iterator[Verdict]:
    """Whether the GANs with this activation generate exactly these digits correctly."""
    metrics = [job.metrics for job in jobs if job.setting[ACTIVATION] == activation]
    if metrics:
        names = [f"test/class_accuracy_{digit}" for digit in range(NUM_CLASSES)]
        shares = [statistics.mean(values[name] for values in metrics) for name in names]
        clear = {digit for digit, share in enumerate(shares) if share >= CLEAR}
        text = ", ".join(f"{digit}: {share:.0%}" for digit, share in enumerate(shares))
        yield Verdict(claim, HOLDS if clear == digits else FAILS, f"read as requested: {text}")


@dataclass(frozen=True)
class Criterion:
    """A test metric, or the last value of a curve, to compare jobs by; a negative scale means lower is better."""

    name: str
    scale: float  # of differences in texts
    unit: str  # of the scaled differences

    def quality(self, job: GANJob) -> float:
        """The value, negated if lower is better."""
        value = job.metrics[self.name] if self.name.startswith("test/") else job.at_end(self.name)
        return -value if self.scale < 0 else value


CLASS_ACCURACY = Criterion("test/class_accuracy", 100, "points of class accuracy")
SHARPNESS = Criterion("test/sharpness", 100, "points of real images' sharpness")
FID = Criterion("test/fid", -1, "FID")
LOWER_LOSS_G, LOWER_LOSS_D = (
    Criterion("train/loss_g", -1, "train/loss_g"),
    Criterion("train/loss_d", -1, "train/loss_d"),
)
HIGHER_LOSS_G = Criterion("train/loss_g", 1, "train/loss_g")


def pairs(jobs: Sequence[GANJob], key: str, one: str, other: str) -> list[tuple[GANJob, GANJob]]:
    """Pairs of jobs that differ only in a key, which is `one` in the first and `other` in the second."""

    def of(value: str) -> dict[frozenset[tuple[str, str]], GANJob]:
        chosen = [job for job in jobs if job.setting.get(key) == value]
        return {frozenset({**job.setting, key: "", "seed": str(job.seed)}.items()): job for job in chosen}

    left, right = of(one), of(other)
    return [(left[rest], right[rest]) for rest in left if rest in right]


def _compared(claim: str, jobs: Sequence[GANJob], key: str, one: str, other: str, *by: Criterion) -> Iterator[Verdict]:
    """Whether jobs with `one` beat those with `other` in every metric; if the metrics disagree, it depends."""
    if matched := pairs(jobs, key, one, other):
        left, right = zip(*matched, strict=True)
        values = [([*map(m.quality, left)], [*map(m.quality, right)], m.scale, m.unit) for m in by]
        yield joint(claim, [paired_difference(*of_metric, of="pairs") for of_metric in values])


def _better_images(claim: str, jobs: Sequence[GANJob], key: str, one: str, other: str) -> Iterator[Verdict]:
    """Compares class accuracy and FID, and notes it if all runs collapsed: then the better images are bad too."""
    for verdict in _compared(claim, jobs, key, one, other, CLASS_ACCURACY, FID):
        highest = max(job.metrics["test/coverage"] for pair in pairs(jobs, key, one, other) for job in pair)
        collapsed = f"; all runs collapsed, coverage at most {highest:.2f}" if highest < COLLAPSED else ""
        yield replace(verdict, evidence=verdict.evidence + collapsed)


def _losses(jobs: Sequence[GANJob]) -> Iterator[Verdict]:
    """Whether losses rank the epochs of a run, or the variants, as FID and class accuracy do."""
    for loss, network in (("train/loss_g", "generator"), ("train/loss_d", "discriminator")):
        for metric, name in (("val/fid", "FID"), ("val/class_accuracy", "class accuracy")):
            claim = f"the {network}'s loss tracks image quality ({name})"
            yield from _over_epochs(claim, jobs, loss, metric)
            yield from _over_variants(claim, jobs, loss, metric)
    curves = [common_values(job, "train/loss_g", "val/fid") for job in jobs if len(job.history["val/fid"]) > 2]
    hits = [losses.index(min(losses)) == fids.index(min(fids)) for losses, fids in curves]
    if hits:
        verdict = HOLDS if sum(hits) > len(hits) / 2 else FAILS
        claim = "the epoch with the lowest generator loss has the best FID"
        yield Verdict(claim, verdict, f"in {sum(hits)} of {len(hits)} runs")


def _over_epochs(claim: str, jobs: Sequence[GANJob], loss: str, metric: str) -> Iterator[Verdict]:
    if ranks := rank_correlations(jobs, loss, metric):
        median = statistics.median(ranks)
        agreed = sum(rank * median > 0 for rank in ranks)
        yield Verdict(
            f"{claim}, over the epochs of a run",
            HOLDS if abs(median) >= STRONG and agreed / len(ranks) >= AGREED else FAILS,
            f"rank correlation {median:+.2f} (median of {len(ranks)} runs, {agreed} of them with this sign)",
        )


def _over_variants(claim: str, jobs: Sequence[GANJob], loss: str, metric: str) -> Iterator[Verdict]:
    known = [job for job in jobs if metric in job.history]
    losses, values = [job.at_end(loss) for job in known], [job.at_end(metric) for job in known]
    if len(known) >= 4 and _vary(losses, values):
        test = spearmanr(losses, values)
        yield Verdict(
            f"{claim}, over variants",
            HOLDS if abs(test.statistic) >= STRONG and test.pvalue < 1 - CONFIDENCE else FAILS,
            f"rank correlation {test.statistic:+.2f} (p = {test.pvalue:.2g}) at the end of {len(known)} runs",
        )


def rank_correlations(jobs: Sequence[GANJob], loss: str, metric: str) -> list[float]:
    """Spearman's rank correlation over the epochs of each job; jobs with too few or constant values are left out."""
    common = (common_values(job, loss, metric) for job in jobs)
    return [float(spearmanr(*values).statistic) for values in common if len(values[0]) >= 3 and _vary(*values)]


def _vary(losses: Sequence[float], values: Sequence[float]) -> bool:
    return len(set(losses)) > 1 and len(set(values)) > 1


def common_values(job: GANJob, loss: str, metric: str) -> tuple[list[float], list[float]]:
    """The values of two curves at the epochs that both contain."""
    first, second = (job.history.get(name, {}) for name in (loss, metric))
    epochs = sorted(first.keys() & second.keys())
    return [first[epoch] for epoch in epochs], [second[epoch] for epoch in epochs]
