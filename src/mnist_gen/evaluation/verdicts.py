"""Verdicts on claims of the student report: a claim holds, fails, depends, or is noise.

A claimed difference holds or fails if 0 lies outside its 95 % confidence interval (Student's t); otherwise it is noise.
"""

import logging
import statistics
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from scipy.stats import t, ttest_ind

from mnist_gen.runs import layout, tables
from mnist_gen.runs.config import shaping

log = logging.getLogger(__name__)

HOLDS, FAILS, NOISE, DEPENDS = "holds", "fails", "noise", "depends"
CONFIDENCE = 0.95
SMALL = 0.05  # smaller differences are written with more decimals
EQUAL = 1e-9  # standard errors below this are rounding errors
SEEDS = ("seed", "data.seed")

Difference = tuple[str, str]  # the verdict on it, and its size in words


@dataclass(frozen=True)
class Verdict:
    """A claim, the verdict on it, and the evidence in words."""

    claim: str
    verdict: str
    evidence: str


@dataclass(frozen=True)
class Job:
    """A complete run in a sweep."""

    folder: Path
    config: dict[str, Any]
    metrics: dict[str, float]

    @cached_property
    def setting(self) -> dict[str, str]:
        """The keys and values of the configuration that shape training, without the seed."""
        shapes = shaping(self.config, ("data", "model", "trainer"))
        return {key: str(value) for key, value in shapes.items() if key not in SEEDS}

    @property
    def seed(self) -> int:
        return int(self.config["seed"])


J = TypeVar("J")


def jobs_in(folders: Sequence[str], model: str, parse: Callable[[Job], J]) -> list[J]:
    """The complete runs of a model class in some folders, parsed. Foreign files are ignored with a warning."""
    jobs = []
    for path in (path for folder in folders for path in sorted(Path(folder).rglob(layout.METRICS))):
        record = layout.read_record(path.parent)
        try:
            if record is not None and record["config"].get("model", {}).get("_target_") == model:
                jobs.append(parse(Job(path.parent, record["config"], record["metrics"])))
        except (KeyError, TypeError, ValueError, AttributeError):
            log.warning("%s is ignored: no run wrote it.", path)
    return jobs


def paired_difference(
    left: Sequence[float], right: Sequence[float], scale: float = 100, unit: str = "points", of: str = "draws"
) -> Difference:
    """Whether the left values are larger, by a paired t-test; both are in the same order.

    The text names the mean difference times `scale`, its standard error, and how many of the pairs (`of`) agree or tie.
    """
    pairs = [a - b for a, b in zip(left, right, strict=True)]
    mean = statistics.mean(pairs)
    if len(pairs) < 2:
        return NOISE, f"{_signed(mean, scale)} {unit} in one of the {of}"
    error = statistics.stdev(pairs) / len(pairs) ** 0.5
    margin = error * float(t.ppf((1 + CONFIDENCE) / 2, len(pairs) - 1))
    agree, ties = sum(p > 0 for p in pairs), sum(p == 0 for p in pairs)
    text = f"{_signed(mean, scale, error)} {unit}, {agree} of {len(pairs)} {of}"
    text += f" ({ties} equal)" if ties else ""
    return _verdict(mean, margin), text


def unpaired_difference(
    left: Sequence[float], right: Sequence[float], scale: float = 100, unit: str = "points"
) -> Difference:
    """As `paired_difference`, by Welch's t-test of unpaired values."""
    mean = statistics.mean(left) - statistics.mean(right)
    error = sum(statistics.variance(values) / len(values) for values in (left, right)) ** 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # one side may be constant
        interval = ttest_ind(left, right, equal_var=False).confidence_interval(CONFIDENCE) if error > EQUAL else None
    margin = float(interval.high) - mean if interval else 0.0
    return _verdict(mean, margin), f"{_signed(mean, scale, error)} {unit}"


def joint(claim: str, differences: Sequence[Difference]) -> Verdict:
    """The common verdict of several comparisons; it depends if they disagree."""
    verdicts = {verdict for verdict, _ in differences}
    return Verdict(claim, verdicts.pop() if len(verdicts) == 1 else DEPENDS, "; ".join(text for _, text in differences))


def span(values: Sequence[float], form: str) -> str:
    """The smallest and the largest value in a format, or the one value that both become."""
    least, most = (format(value, form) for value in (min(values), max(values)))
    return least if least == most else f"{least} to {most}"


def all_or_none(each: Sequence[bool]) -> str:
    """Holds if all hold, fails if none does, and depends otherwise."""
    return HOLDS if all(each) else DEPENDS if any(each) else FAILS


def _verdict(mean: float, margin: float) -> str:
    return HOLDS if mean > margin else FAILS if mean < -margin else NOISE


def _signed(mean: float, scale: float, error: float | None = None) -> str:
    size = abs(scale) * max(abs(mean), error or 0.0)
    decimals = (1 if abs(scale) == 100 else 2) if size >= SMALL or size == 0 else 4
    return f"{scale * mean:+.{decimals}f}" + ("" if error is None else f" ± {abs(scale) * error:.{decimals}f}")


def markdown(verdicts: Sequence[Verdict]) -> str:
    """A table with one row per claim."""
    return tables.markdown(("claim", "verdict", "evidence"), [(v.claim, v.verdict, v.evidence) for v in verdicts])
