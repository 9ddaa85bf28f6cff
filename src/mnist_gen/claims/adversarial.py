"""What the student report says of its GANs, each sentence held against sweeps over conditional ones.

Reads what their jobs left: metrics.json and history.json. Two settings are compared job by job, all else equal, the
seed included; recipes are judged apart, for losses of different kinds cannot be compared.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy.stats import spearmanr

from mnist_gen import checkpoint, figures
from mnist_gen.claims import FAILS, HOLDS, Verdict, difference
from mnist_gen.gan import GAN

STRONG = 0.5  # rank correlation from which a loss is taken to say something

Curve = Mapping[int, float]  # of epochs
Points = dict[str, tuple[list[float], list[float]]]


@dataclass(frozen=True)
class Job:
    """One conditional GAN: its folder, its setting, its test figures and its curves."""

    folder: Path
    loss: str
    label: str  # onehot, embedding 20, ...
    concat: str
    activation: str
    seed: int
    metrics: Mapping[str, float]
    history: Mapping[str, Curve]

    def last(self, name: str) -> float:
        """A curve's value at the last epoch."""
        return self.history[name][max(self.history[name])]


def read(folders: Sequence[str]) -> list[Job]:
    """The complete jobs of conditional GANs in folders."""
    paths = sorted(path for folder in folders for path in Path(folder).rglob("history.json"))
    records = {path: path.with_name("metrics.json") for path in paths}
    jobs = (_job(json.loads(record.read_text()), path) for path, record in records.items() if record.exists())
    return [job for job in jobs if job is not None]


def _job(record: dict[str, Any], history: Path) -> Job | None:
    model = record["config"]["model"]
    if model["_target_"] != "mnist_gen.gan.GAN" or model["label"] is None:
        return None
    return Job(
        folder=history.parent,
        loss=model["loss"]["_target_"].rpartition(".")[2],
        label=model["label"] if model["label"] == "onehot" else f"embedding {model['embedding_dim']}",
        concat=model["concat"],
        activation=model["discriminator"]["activation"],
        seed=record["config"]["seed"],
        metrics=record["metrics"],
        history={name: dict(curve) for name, curve in json.loads(history.read_text()).items()},
    )


def judge(jobs: Sequence[Job]) -> list[Verdict]:
    """Every claim for which the jobs are there, recipe by recipe."""
    recipes: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        recipes[job.loss].append(job)
    return [verdict for name, alike in recipes.items() for verdict in _of_recipe(name, alike)]


def _of_recipe(name: str, jobs: Sequence[Job]) -> Iterator[Verdict]:
    embedded = {job.label for job in jobs} - {"onehot"}
    for label in sorted(embedded):
        yield from _better(f"{name}: {label} gives better images than one-hot", jobs, "label", label, "onehot")
        claim = f"{name}: {label} has the lower G loss than one-hot"
        yield from _compared(claim, jobs, "label", label, "onehot", _lower("train/loss_g"))
    yield from _better(f"{name}: before the decoder is better than after it", jobs, "concat", "before", "after")
    leaky = ("activation", "leaky_relu", "relu")
    yield from _compared(f"{name}: LeakyReLU lowers the discriminator's loss", jobs, *leaky, _lower("train/loss_d"))
    yield from _compared(f"{name}: LeakyReLU raises the generator's loss", jobs, *leaky, _higher("train/loss_g"))
    yield from _better(
        f"{name}: LeakyReLU in the discriminator gives worse images", jobs, "activation", "relu", "leaky_relu"
    )
    yield from _losses(name, jobs)


@dataclass(frozen=True)
class Figure:
    """A figure by which jobs are compared, the larger the better, and how its differences are written."""

    value: Callable[[Job], float]
    scale: float
    unit: str


CLASS_ACCURACY = Figure(lambda job: job.metrics["test/class_accuracy"], 100, "points of class accuracy")
FID = Figure(lambda job: -job.metrics["test/fid"], -1, "FID")


def _lower(name: str) -> Figure:
    return Figure(lambda job: -job.last(name), -1, name)


def _higher(name: str) -> Figure:
    return Figure(lambda job: job.last(name), 1, name)


def _pairs(jobs: Sequence[Job], key: str, one: str, other: str) -> list[tuple[Job, Job]]:
    """Jobs that differ in one key alone."""

    def rest(job: Job) -> tuple[object, ...]:
        return tuple(getattr(job, name) for name in ("label", "concat", "activation", "seed") if name != key)

    left, right = ({rest(job): job for job in jobs if getattr(job, key) == value} for value in (one, other))
    return [(left[setting], right[setting]) for setting in left if setting in right]


def _compared(claim: str, jobs: Sequence[Job], key: str, one: str, other: str, *by: Figure) -> Iterator[Verdict]:
    """Whether the jobs with `one` beat those with `other` by each figure; where the figures disagree, it depends."""
    pairs = _pairs(jobs, key, one, other)
    if not pairs:
        return
    found = [
        difference([f.value(a) for a, _ in pairs], [f.value(b) for _, b in pairs], f.scale, f.unit, "pairs") for f in by
    ]
    verdicts = {verdict for verdict, _ in found}
    yield Verdict(claim, verdicts.pop() if len(verdicts) == 1 else "depends", "; ".join(text for _, text in found))


def _better(claim: str, jobs: Sequence[Job], key: str, one: str, other: str) -> Iterator[Verdict]:
    return _compared(claim, jobs, key, one, other, CLASS_ACCURACY, FID)


def _losses(name: str, jobs: Sequence[Job]) -> Iterator[Verdict]:
    """Whether losses rank epochs, or variants, as FID and class accuracy do."""
    for loss, player in (("train/loss_g", "G"), ("train/loss_d", "D")):
        for figure, what in (("val/fid", "FID"), ("val/class_accuracy", "class accuracy")):
            over_epochs = [rank for job in jobs if (rank := rank_correlation(job, loss, figure)) is not None]
            last = [(job.last(loss), job.last(figure)) for job in jobs]
            if not over_epochs or len(last) < 3:
                continue
            over_variants = float(spearmanr(*zip(*last, strict=True)).statistic)
            middle = sorted(over_epochs)[len(over_epochs) // 2]
            says = min(abs(middle), abs(over_variants)) >= STRONG and middle * over_variants > 0
            yield Verdict(
                f"{name}: {player}'s loss says how good the images are ({what})",
                HOLDS if says else FAILS,
                f"rank correlation over epochs {middle:+.2f} (median of {len(over_epochs)} runs, "
                f"{min(over_epochs):+.2f} to {max(over_epochs):+.2f}), over variants {over_variants:+.2f}",
            )
    hits = [_lowest(job, "train/loss_g") == _lowest(job, "val/fid") for job in jobs if len(job.history["val/fid"]) > 2]
    if hits:
        text = f"in {sum(hits)} of {len(hits)} runs"
        claim = f"{name}: the epoch with the lowest G loss is the best one (FID)"
        yield Verdict(claim, HOLDS if sum(hits) > len(hits) / 2 else FAILS, text)


def rank_correlation(job: Job, loss: str, figure: str) -> float | None:
    """Spearman's, over the epochs at which both are known; None for fewer than three, or where one never changes."""
    epochs = sorted(job.history[loss].keys() & job.history[figure].keys())
    losses, values = ([job.history[name][epoch] for epoch in epochs] for name in (loss, figure))
    if len(epochs) < 3 or len({*losses}) == 1 or len({*values}) == 1:
        return None
    return float(spearmanr(losses, values).statistic)


def _lowest(job: Job, name: str) -> int:
    both = job.history["train/loss_g"].keys() & job.history["val/fid"].keys()
    return min(both, key=lambda epoch: job.history[name][epoch])


def pictures(jobs: Sequence[Job]) -> dict[str, figures.Figure]:
    """Losses against FID over all epochs; and of each recipe two digits made before and after the decoder."""
    if not jobs:
        return {}
    title = "Losses against FID, a point an epoch"
    drawn = {"losses_and_fid": figures.scatter(losses_and_fid(jobs), title, "loss", "FID")}
    for loss in sorted({job.loss for job in jobs}):
        pairs = _pairs([job for job in jobs if job.loss == loss], "concat", "before", "after")
        if pairs:
            pair = min(pairs, key=lambda pair: (pair[0].label != "embedding 20", pair[0].activation, pair[0].seed))
            drawn[f"before_and_after_{loss.lower()}"] = _before_and_after(*pair)
    return drawn


def _before_and_after(before: Job, after: Job) -> figures.Figure:
    """25 samples of each digit that the report shows, from the same latents."""
    models: dict[str, GAN] = {}
    for name, job in (("before", before), ("after", after)):
        model = checkpoint.load(checkpoint.of_run(job.folder))
        assert isinstance(model, GAN)
        models[name] = model
    grids = {f"{digit}, {name}": gan.sample(digit, 25) for digit in (0, 1) for name, gan in models.items()}
    title = f"{before.loss}, {before.label}: the label joins before the decoder, or after it"
    return figures.side_by_side(grids, 5, title)


def losses_and_fid(jobs: Sequence[Job]) -> Points:
    """For a picture: of each loss and recipe the losses and FIDs of all epochs of all jobs."""
    points: Points = {}
    for job in jobs:
        for name in ("train/loss_g", "train/loss_d"):
            xs, ys = points.setdefault(f"{job.loss}: {name}", ([], []))
            for epoch in sorted(job.history[name].keys() & job.history["val/fid"].keys()):
                xs.append(job.history[name][epoch])
                ys.append(job.history["val/fid"][epoch])
    return points
