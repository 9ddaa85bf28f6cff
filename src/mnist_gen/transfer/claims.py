"""What the student report says of transfer learning, each sentence held against sweeps over draws of labels.

Reads what jobs of `transfer_*` experiments left: metrics.json and draws.json.
"""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mnist_gen.evaluation.verdicts import FAILS, HOLDS, NOISE, Verdict, difference, jobs_in
from mnist_gen.runs import layout

PATIENCE = 20  # epochs, the report's
RISE_FROM, FLAT_FROM = 25, 40  # epochs, the report's


@dataclass(frozen=True)
class Job:
    """One arm over draws of labels."""

    head: str
    arm: str
    dropout: float
    labels: int
    draws: dict[str, Any]

    @property
    def accuracy(self) -> list[float]:
        """Of the test images, a value a draw."""
        return self.draws["accuracy"]

    def curve(self, name: str, draw: int) -> list[float]:
        """A value an epoch, such as `val/loss`."""
        return [row[draw] for row in self.draws["history"][name]]


def read(folders: Sequence[str], labels: int) -> list[Job]:
    """The complete jobs in folders, those with that many labels."""
    return jobs_in(folders, lambda record, folder: _job(record, folder, labels))


def _job(record: dict[str, Any], folder: Path, labels: int) -> Job | None:
    config = record["config"]
    if "arm" not in config.get("model", {}) or config["data"]["labels"] != labels:
        return None
    head = config["model"]["head"]
    name, draws = "mlp" if "hidden" in head else "linear", layout.read_part(folder, "draws.json", dict)
    return Job(name, config["model"]["arm"], head.get("dropout", 0.0), labels, draws) if draws else None


def judge(jobs: Sequence[Job]) -> list[Verdict]:
    """Every claim for which the jobs are there."""
    by_arm = {(job.head, job.arm): job for job in jobs if job.head == "linear" or job.dropout > 0}
    without_dropout = {job.arm: job for job in jobs if job.head == "mlp" and job.dropout == 0}
    return [
        *_composition(by_arm),
        *_overfitting(by_arm),
        *_epochs(by_arm),
        *_dropout(by_arm, without_dropout),
        *_early_stopping(by_arm),
        *_digits(by_arm),
    ]


Arms = dict[tuple[str, str], Job]


def _composition(arms: Arms) -> Iterator[Verdict]:
    readings = {"finetune": "an encoder that learns too", "scratch": "fresh weights"}
    for head in ("linear", "mlp"):
        for arm, what in readings.items():
            if (head, "frozen") in arms and (head, arm) in arms:
                verdict, figures = difference(arms[head, "frozen"].accuracy, arms[head, arm].accuracy)
                yield Verdict(f"{head}: the frozen encoder beats composition ({what})", verdict, figures)
        if all((head, arm) in arms for arm in ("frozen", "finetune", "scratch")):
            frozen, finetune, scratch = (arms[head, arm].accuracy for arm in ("frozen", "finetune", "scratch"))
            moved, moving = difference(frozen, finetune)
            _, fresh = difference(finetune, scratch)
            by_moving = [a - b for a, b in zip(frozen, finetune, strict=True)]
            verdict, more = difference(by_moving, [a - b for a, b in zip(finetune, scratch, strict=True)])
            text = f"moving costs {moving}; fresh weights a further {fresh}; the one more than the other {more}"
            verdict = verdict if moved == HOLDS else moved
            yield Verdict(f"{head}: composition is worse because the encoder moves", verdict, text)


def _overfitting(arms: Arms) -> Iterator[Verdict]:
    for (head, arm), job in arms.items():
        verdict, figures = difference(job.draws["train_accuracy"], job.accuracy)
        yield Verdict(f"{head} {arm}: it overfits (train above test accuracy)", verdict, figures)


def _epochs(arms: Arms) -> Iterator[Verdict]:
    for arm in ("finetune", "scratch"):
        job = arms.get(("linear", arm))
        if job is None or len(job.draws["history"]["val/loss"]) <= FLAT_FROM:
            continue
        losses = [job.curve("val/loss", draw) for draw in range(len(job.accuracy))]
        lowest = [1 + loss.index(min(loss)) for loss in losses]
        verdict, figures = difference(
            [loss[-1] for loss in losses], [loss[RISE_FROM - 1] for loss in losses], 1, "nats"
        )
        yield Verdict(
            f"linear {arm}: loss on new images rises from epoch {RISE_FROM}",
            verdict,
            f"lowest at epoch {statistics.median(lowest):.0f} (median; {min(lowest)} to {max(lowest)}), "
            f"from epoch {RISE_FROM} to {len(losses[0])} {figures}",
        )
        gains = [job.curve("val/accuracy", draw) for draw in range(len(job.accuracy))]
        verdict, figures = difference([gain[-1] for gain in gains], [gain[FLAT_FROM - 1] for gain in gains])
        flat = verdict == NOISE
        claim = f"linear {arm}: accuracy on new images is flat from epoch {FLAT_FROM}"
        yield Verdict(claim, HOLDS if flat else FAILS, f"from there to epoch {len(gains[0])} {figures}")


def _dropout(arms: Arms, without: dict[str, Job]) -> Iterator[Verdict]:
    for arm, job in without.items():
        if ("mlp", arm) in arms:
            verdict, figures = difference(arms["mlp", arm].accuracy, job.accuracy)
            yield Verdict(f"mlp {arm}: dropout helps", verdict, figures)


def _early_stopping(arms: Arms) -> Iterator[Verdict]:
    for (head, arm), job in arms.items():
        kept, last = [], []
        for draw in range(len(job.accuracy)):
            accuracy = job.curve("val/accuracy", draw)
            kept.append(accuracy[_stop(job.curve("val/loss", draw))])
            last.append(accuracy[-1])
        verdict, figures = difference(kept, last)
        text = f"best epoch before {PATIENCE} without a better one, over epoch {len(accuracy)}: {figures}"
        yield Verdict(f"{head} {arm}: early stopping helps", verdict, text)


def _stop(losses: Sequence[float]) -> int:
    """The index that early stopping keeps."""
    best = 0
    for epoch, loss in enumerate(losses):
        if loss < losses[best]:
            best = epoch
        elif epoch - best >= PATIENCE:
            break
    return best


def _digits(arms: Arms) -> Iterator[Verdict]:
    f1 = [row for job in arms.values() for row in job.draws["f1"]]
    if not f1:
        return
    choices: tuple[tuple[str, int, Callable[..., float]], ...] = (("hardest", 5, min), ("easiest", 1, max))
    for name, digit, extreme in choices:
        extremes = [row.index(extreme(row)) for row in f1]
        share = extremes.count(digit) / len(f1)
        means = [statistics.mean(column) for column in zip(*f1, strict=True)]
        found = means.index(extreme(means))
        yield Verdict(
            f"{digit} is the {name} digit",
            HOLDS if share > 0.5 else FAILS,
            f"in {100 * share:.0f} % of {len(f1)} classifiers; by mean F1 it is {found} ({means[found]:.2f})",
        )
