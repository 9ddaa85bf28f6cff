"""What the student report claims about transfer learning, checked against sweeps over draws of labels."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mnist_gen.evaluation import verdicts
from mnist_gen.evaluation.verdicts import FAILS, HOLDS, NOISE, Verdict, all_or_none, paired_difference
from mnist_gen.runs import layout

PATIENCE = 20  # epochs, in the student report
RISE_FROM, FLAT_FROM = 25, 40  # epochs, in the student report


@dataclass(frozen=True)
class Job:
    """A head and an arm, trained on several draws of labels."""

    head: str
    arm: str
    dropout: float
    patience: int  # epochs
    draws: dict[str, Any]

    @property
    def complete(self) -> bool:
        """Whether no draw stopped early."""
        return self.patience >= len(self.draws["history"]["val/loss"])

    @property
    def accuracy(self) -> list[float]:
        """Test accuracy of each draw."""
        return self.draws["accuracy"]

    def last(self, name: str) -> list[float]:
        """The last value of each draw's curve."""
        return list(self.draws["history"][name][-1])

    def curves(self, name: str) -> list[tuple[float, ...]]:
        """For each draw, a value per epoch; `name` is such as `val/loss`."""
        return [*zip(*self.draws["history"][name], strict=True)]


Arms = dict[tuple[str, str], Job]  # by head and arm


def read(folders: Sequence[str], labels: int) -> list[Job]:
    """The complete transfer jobs in folders that were trained with that many labels."""

    def parse(job: verdicts.Job) -> Job | None:
        model, draws = job.config["model"], layout.read_part(job.folder, "draws.json", dict)
        if job.config["data"]["labels"] != labels or not draws:
            return None
        name = "mlp" if "hidden" in model["head"] else "linear"
        return Job(name, model["arm"], model["head"].get("dropout", 0.0), int(model["patience"]), draws)

    return [job for job in verdicts.jobs_in(folders, "mnist_gen.transfer.Transfer", parse) if job is not None]


def judge(jobs: Sequence[Job]) -> list[Verdict]:
    """Verdicts on every claim that the jobs can answer."""
    arms = by_arm(jobs)
    without_dropout = {job.arm: job for job in jobs if job.head == "mlp" and job.dropout == 0}
    dropout = _dropout(arms, without_dropout)
    return [*_composition(arms), *_overfitting(arms), *_epochs(arms), *dropout, *_early_stopping(arms), *_digits(arms)]


def by_arm(jobs: Sequence[Job]) -> Arms:
    """The jobs with the student report's heads: a linear one, and an MLP with dropout."""
    return {(job.head, job.arm): job for job in jobs if job.head == "linear" or job.dropout > 0}


def _composition(arms: Arms) -> Iterator[Verdict]:
    meanings = {"finetune": "a finetuned encoder", "scratch": "an encoder from random weights"}
    for head in ("linear", "mlp"):
        for arm, meaning in meanings.items():
            if (head, "frozen") in arms and (head, arm) in arms:
                kept, composed = arms[head, "frozen"], arms[head, arm]
                claim = f"{head}: the frozen encoder beats composition ({meaning})"
                yield Verdict(claim, *paired_difference(kept.accuracy, composed.accuracy))
                if kept.complete and composed.complete:
                    at_end = paired_difference(kept.last("val/accuracy"), composed.last("val/accuracy"))
                    yield Verdict(f"{claim}, without early stopping", *at_end)
        if all((head, arm) in arms for arm in ("frozen", "finetune", "scratch")):
            frozen, finetune, scratch = (arms[head, arm].accuracy for arm in ("frozen", "finetune", "scratch"))
            moves, moving_text = paired_difference(frozen, finetune)
            _, scratch_text = paired_difference(finetune, scratch)
            moving = [a - b for a, b in zip(frozen, finetune, strict=True)]
            fresh = [a - b for a, b in zip(finetune, scratch, strict=True)]
            mostly_moving, text = paired_difference(moving, fresh)
            yield Verdict(
                f"{head}: composition is worse because the encoder moves",
                mostly_moving if moves == HOLDS else moves,
                f"finetuning instead of freezing loses {moving_text}; random weights lose a further {scratch_text}; "
                f"the first loss is larger by {text}",
            )


def _overfitting(arms: Arms) -> Iterator[Verdict]:
    for (head, arm), job in arms.items():
        difference = paired_difference(job.draws["train_accuracy"], job.accuracy)
        yield Verdict(f"{head} {arm}: it overfits (train above test accuracy)", *difference)


def _epochs(arms: Arms) -> Iterator[Verdict]:
    for arm in ("finetune", "scratch"):
        job = arms.get(("linear", arm))
        if job is None or len(job.draws["history"]["val/loss"]) <= FLAT_FROM:
            continue
        losses, accuracies = job.curves("val/loss"), job.curves("val/accuracy")
        lowest, last = [1 + loss.index(min(loss)) for loss in losses], len(losses[0])
        verdict, text = paired_difference(job.last("val/loss"), _at(RISE_FROM, losses), 1, "nats")
        yield Verdict(
            f"linear {arm}: loss on new images rises from epoch {RISE_FROM}",
            verdict,
            f"lowest at epoch {statistics.median(lowest):.0f} (median; {min(lowest)} to {max(lowest)}), "
            f"from epoch {RISE_FROM} to {last} {text}",
        )
        verdict, text = paired_difference(job.last("val/accuracy"), _at(FLAT_FROM, accuracies))
        claim = f"linear {arm}: accuracy on new images is flat from epoch {FLAT_FROM}"
        yield Verdict(claim, verdict if verdict == NOISE else FAILS, f"from epoch {FLAT_FROM} to {last} {text}")


def _at(epoch: int, curves: Sequence[Sequence[float]]) -> list[float]:
    return [curve[epoch - 1] for curve in curves]


def _dropout(arms: Arms, without: dict[str, Job]) -> Iterator[Verdict]:
    for arm, job in without.items():
        if ("mlp", arm) in arms:
            difference = paired_difference(arms["mlp", arm].accuracy, job.accuracy)
            yield Verdict(f"mlp {arm}: dropout helps", *difference)


def _early_stopping(arms: Arms) -> Iterator[Verdict]:
    for (head, arm), job in arms.items():
        if not job.complete:
            continue
        losses, accuracies = job.curves("val/loss"), job.curves("val/accuracy")
        kept = [accuracy[_kept_index(loss)] for loss, accuracy in zip(losses, accuracies, strict=True)]
        verdict, text = paired_difference(kept, job.last("val/accuracy"))
        text = f"best epoch with a patience of {PATIENCE}, against epoch {len(accuracies[0])}: {text}"
        yield Verdict(f"{head} {arm}: early stopping helps", verdict, text)


def _kept_index(losses: Sequence[float]) -> int:
    """The index of the epoch that early stopping keeps."""
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
    means = [statistics.mean(column) for column in zip(*f1, strict=True)]
    for name, digit, extreme in (("hardest", 5, min), ("easiest", 1, max)):
        share = [row.index(extreme(row)) for row in f1].count(digit) / len(f1)
        by_mean = means.index(extreme(means))
        yield Verdict(
            f"{digit} is the {name} digit",
            all_or_none([share > 0.5, by_mean == digit]),
            f"for {100 * share:.0f} % of {len(f1)} classifiers; by mean F1 it is {by_mean} ({means[by_mean]:.2f})",
        )
