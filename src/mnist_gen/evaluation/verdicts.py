"""What the student report says, each sentence held against measurements: it holds, fails, depends, or is noise.

A difference holds or fails when 0 lies outside its 95 % confidence interval (Student's t), else it is noise.
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
SMALL = 0.05  # below this a difference is written with four decimals
EQUAL = 1e-9  # standard error below which values differ by rounding alone


@dataclass(frozen=True)
class Verdict:
    """A sentence of the report, what became of it, and by which figures."""

    claim: str
    verdict: str
    figures: str


def jobs_in(folders: Sequence[str], parse: Callable[[dict[str, Any], Path], Job | None]) -> list[Job]:
    """What `parse` makes of each complete run in folders, from its metrics.json and folder; warns of foreign files.

    Args:
        folders: looked through to any depth.
        parse: gives None for a run of another kind.
    """
    found = []
    for path in sorted(path for folder in folders for path in Path(folder).rglob(layout.METRICS)):
        record = layout.read_record(path.parent)
        try:
            job = parse(record, path.parent) if record is not None else None
        except (KeyError, TypeError, ValueError, AttributeError):
            log.warning("%s is ignored: it is not what a run writes.", path)
            continue
        found += [] if job is None else [job]
    return found


def difference(
    left: Sequence[float], right: Sequence[float], scale: float = 100, unit: str = "points", of: str = "draws"
) -> tuple[str, str]:
    """Whether the left values are larger, pair by pair.

    Args:
        left: values of one setting.
        right: of the other, in the same order.
        scale: what differences are multiplied by in the text; negative for values where less is more.
        unit: of the scaled differences.
        of: what a pair is.

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


def apart(left: Sequence[float], right: Sequence[float], scale: float = 100, unit: str = "points") -> tuple[str, str]:
    """Whether the left values are larger, of values that do not come in pairs (Welch's test).

    Args:
        left: values of one setting.
        right: of the other.
        scale: what the difference is multiplied by in the text.
        unit: of the scaled difference.

    Returns:
        The verdict, and a text with the difference of the means and its standard error.
    """
    mean = statistics.mean(left) - statistics.mean(right)
    error = sum(statistics.variance(values) / len(values) for values in (left, right)) ** 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # one side may be all the same
        interval = ttest_ind(left, right, equal_var=False).confidence_interval(CONFIDENCE) if error > EQUAL else None
    margin = float(interval.high) - mean if interval else 0.0
    return _verdict(mean, margin), f"{_signed(mean, scale, error)} {unit}"


def together(verdicts: Iterable[str]) -> str:
    """One verdict for several figures: theirs if they agree, else it depends."""
    found = set(verdicts)
    return found.pop() if len(found) == 1 else DEPENDS


def _verdict(mean: float, margin: float) -> str:
    return HOLDS if mean > margin else FAILS if mean < -margin else NOISE


def _signed(mean: float, scale: float, error: float | None = None) -> str:
    size = abs(scale) * max(abs(mean), error or 0.0)
    decimals = 1 if abs(scale) == 100 else 2 if size >= SMALL else 4
    return f"{scale * mean:+.{decimals}f}" + ("" if error is None else f" ± {abs(scale) * error:.{decimals}f}")


def markdown(verdicts: Sequence[Verdict]) -> str:
    """A table, a line a claim."""
    return tables.markdown(("claim", "verdict", "figures"), [(v.claim, v.verdict, v.figures) for v in verdicts])
