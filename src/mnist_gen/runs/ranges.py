"""Sets of allowed values: numbers in a range, text, lists, choices. Imports no torch."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`.

    Args:
        low: the lowest number.
        high: the highest number.
        whole: whether only whole numbers are allowed.
        open: the bounds that are excluded: `low`, `high`, both with a comma, or none.
        null: whether null is allowed too.
        words: texts that are allowed too.
    """

    low: float
    high: float
    whole: bool = True
    open: str = ""
    null: bool = False
    words: tuple[str, ...] = ()

    def allows(self, value: Any) -> bool:
        """Whether a value is allowed."""
        if value is None or isinstance(value, bool):
            return value is None and self.null
        if isinstance(value, str):
            return value in self.words
        if not isinstance(value, int if self.whole else int | float) or not is_finite(value):
            return False
        above = value > self.low if "low" in self.open else value >= self.low
        return above and (value < self.high if "high" in self.open else value <= self.high)

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        start = f"above {self.low:g} and" if "low" in self.open else f"from {self.low:.10g}"
        end = f"below {self.high:g}" if "high" in self.open else f"{'up ' * ('low' in self.open)}to {self.high:.10g}"
        others = "".join(f", or {word}" for word in (*self.words, *(["null"] if self.null else [])))
        return f"{kind} {start} {end}{others}"


@dataclass(frozen=True)
class Share(Range):
    """A whole number of batches, or a share of them above 0 and up to 1."""

    def allows(self, value: Any) -> bool:
        if isinstance(value, float):
            return 0 < value <= 1
        return super().allows(value)

    def __str__(self) -> str:
        return f"a whole number from {self.low:g}, a share above 0.0 and up to 1.0{', or null' * self.null}"


@dataclass(frozen=True)
class Text:
    """Any text that is not empty."""

    null: bool = False

    def allows(self, value: Any) -> bool:
        """Whether a value is allowed."""
        return (value is None and self.null) or (isinstance(value, str) and value != "")

    def __str__(self) -> str:
        return "text" + ", or null" * self.null


@dataclass(frozen=True)
class Group:
    """A group of keys."""

    def allows(self, value: Any) -> bool:
        """Whether a value is allowed."""
        return value is None or isinstance(value, Mapping)

    def __str__(self) -> str:
        return "a group of keys, or null"


@dataclass(frozen=True)
class Listed:
    """A list.

    Args:
        each: the range of its values.
        least: the smallest length.
        most: the largest length.
        null: whether null is allowed too.
        alone: whether a single value may stand for a list of one.
    """

    each: Any
    least: int = 0
    most: int = 1000
    null: bool = False
    alone: bool = False

    def allows(self, value: Any) -> bool:
        """Whether a value is allowed."""
        if isinstance(value, list):
            return self.least <= len(value) <= self.most and all(map(self.each.allows, value))
        return (value is None and self.null) or (self.alone and self.each.allows(value))

    def __str__(self) -> str:
        size = f"{self.least}" if self.least == self.most else f"at least {self.least}" if self.least else "any number"
        return f"a list of {size}, each {self.each}" + ", or null" * self.null


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[Any, ...]

    def allows(self, value: Any) -> bool:
        """Whether a value is allowed, including its type."""
        return any(value == known and type(value) is type(known) for known in self.values)

    def __str__(self) -> str:
        return f"one of {', '.join('null' if value is None else str(value).lower() for value in self.values)}"


def is_finite(value: float) -> bool:
    """Whether a number of any size is neither infinite nor NaN."""
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number larger than any float
        return False
