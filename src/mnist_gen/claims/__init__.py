"""What the student report says, each sentence held against measurements: it holds, fails, or is within the noise.

A difference of two settings is taken pair by pair (the same labels, the same seed): it holds or fails when its mean is
more than two standard errors from 0, else it is noise.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

HOLDS, FAILS, NOISE = "holds", "fails", "noise"


@dataclass(frozen=True)
class Verdict:
    """A sentence of the report, what became of it, and by which figures."""

    claim: str
    verdict: str
    figures: str


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
    decimals = 1 if abs(scale) == 100 else 2
    if len(pairs) < 2:
        return NOISE, f"{scale * mean:+.{decimals}f} {unit} in one of the {of}"
    error = statistics.stdev(pairs) / len(pairs) ** 0.5
    verdict = HOLDS if mean > 2 * error else FAILS if mean < -2 * error else NOISE
    figures = f"{scale * mean:+.{decimals}f} ± {abs(scale) * error:.{decimals}f} {unit}"
    return verdict, f"{figures}, {sum(p > 0 for p in pairs)} of {len(pairs)} {of}"


def markdown(verdicts: Sequence[Verdict]) -> str:
    """A table, a line a claim."""
    head = "| the report's claim | verdict | figures |\n|---|---|---|\n"
    return head + "".join(f"| {v.claim} | {v.verdict} | {v.figures} |\n" for v in verdicts)
