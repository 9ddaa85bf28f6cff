"""Verdicts on claims of the student report: a claim holds, fails, depends, or is noise.

A claimed difference holds or fails if 0 lies outside its 95 % confidence interval (Student's t); otherwise it is noise.
"""

import logging
import statistics
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from scipy.stats import t, ttest_ind

from mnist_gen.runs import layout, tables

Job = TypeVar("Job")

log = logging.getLogger(__name__)

HOLDS, FAILS, NOISE, DEPENDS = "holds", "fails", "noise", "depends"
CONFIDENCE = 0.95
SMALL = 0.05  # smaller differences are written with four decimals
EQUAL = 1e-9  # standard errors below this are rounding errors


@dataclass(frozen=True)
class Verdict:
    """A claim, the verdict on it, and the evidence in words."""

    claim: str
    verdict: str
    evidence: str


def jobs_in(folders: Sequence[str], parse: Callable[[dict[str, Any], Path], Job | None]) -> list[Job]:
    """The complete runs in some folders, parsed. Foreign files are ignored with a warning.

    Args:
        folders: searched to any depth.
        parse: makes a job of a run's metrics.json and folder; None for a run of another kind.
    """
    found = []
    for path in sorted(path for folder in folders for path in Path(folder).rglob(layout.METRICS)):
        record = layout.read_record(path.parent)
        try:
            job = parse(record, path.parent) if record is not None else None
        except (KeyError, TypeError, ValueError, AttributeError):
            log.warning("%s is ignored: no run wrote it.", path)
            continue
        found += [] if job is None else [job]
    return found


def paired_difference(
    left: Sequence[float], right: Sequence[float], scale: float = 100, unit: str = "points", of: str = "draws"
) -> tuple[str, str]:
    """Whether the left values are larger, by a paired t-test.

    Args:
        left: values of one setting.
        right: values of the other setting, in the same order.
        scale: the factor of differences in the text; negative for metrics where lower is better.
        unit: of the scaled differences.
        of: the name of the pairs.

    Returns:
        The verdict, and a text with the mean difference, its standard error and the number of pairs in favour.
    """
    pairs = [a - b for a, b in zip(left, right, strict=True)]
    mean = statistics.mean(pairs)
    if len(pairs) < 2:
        return NOISE, f"{_signed(mean, scale)} {unit} in one of the {of}"
    error = statistics.stdev(pairs) / len(pairs) ** 0.5
    margin = error * float(t.ppf((1 + CONFIDENCE) / 2, len(pairs) - 1))
    text = f"{_signed(mean, scale, error)} {unit}, {sum(p > 0 for p in pairs)} of {len(pairs)} {of}"
    return _verdict(mean, margin), text


def unpaired_difference(
    left: Sequence[float], right: Sequence[float], scale: float = 100, unit: str = "points"
) -> tuple[str, str]:
    """Whether the left values are larger, by Welch's t-test of unpaired values.

    Args:
        left: values of one setting.
        right: values of the other setting.
        scale: the factor of the difference in the text.
        unit: of the scaled difference.

    Returns:
        The verdict, and a text with the difference of the means and its standard error.
    """
    mean = statistics.mean(left) - statistics.mean(right)
    error = sum(statistics.variance(values) / len(values) for values in (left, right)) ** 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # one side may be constant
        interval = ttest_ind(left, right, equal_var=False).confidence_interval(CONFIDENCE) if error > EQUAL else None
    margin = float(interval.high) - mean if interval else 0.0
    return _verdict(mean, margin), f"{_signed(mean, scale, error)} {unit}"


def joint_verdict(verdicts: Iterable[str]) -> str:
    """The common verdict of several comparisons; "depends" if they disagree."""
    found = set(verdicts)
    return found.pop() if len(found) == 1 else DEPENDS


def _verdict(mean: float, margin: float) -> str:
    return HOLDS if mean > margin else FAILS if mean < -margin else NOISE


def _signed(mean: float, scale: float, error: float | None = None) -> str:
    size = abs(scale) * max(abs(mean), error or 0.0)
    decimals = 1 if abs(scale) == 100 else 2 if size >= SMALL else 4
    return f"{scale * mean:+.{decimals}f}" + ("" if error is None else f" ± {abs(scale) * error:.{decimals}f}")


def markdown(verdicts: Sequence[Verdict]) -> str:
    """A table with one row per claim."""
    return tables.markdown(("claim", "verdict", "evidence"), [(v.claim, v.verdict, v.evidence) for v in verdicts])
