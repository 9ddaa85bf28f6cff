"""Sets of allowed values: numbers in a range, text, lists, choices. Imports no torch."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import le, lt
from typing import Any

INTERVALS = {  # a round bracket excludes the bound
    "[]": "from {} to {}",
    "[)": "from {} below {}",
    "(]": "above {} and up to {}",
    "()": "above {} and below {}",
}


@dataclass(frozen=True)
class Allowed:
    """A set of values: the text that describes it in messages, and the test of a value. `|` unites two."""

    text: str
    allows: Callable[[Any], bool]

    def __or__(self, other: "Allowed") -> "Allowed":
        return Allowed(f"{self.text}, or {other.text}", lambda value: self.allows(value) or other.allows(value))


def is_number(value: Any, kind: Any = int | float) -> bool:
    """Whether a value is a finite number that a float can hold."""
    try:
        return isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number larger than any float
        return False


def whole(low: int, high: int) -> Allowed:
    """Whole numbers from `low` to `high`."""
    return Allowed(f"a whole number from {low} to {high}", lambda value: is_number(value, int) and low <= value <= high)


def number(low: int, high: int, bounds: str = "[]") -> Allowed:
    """Numbers of an interval; `bounds` are its brackets, as in (0, 1]."""
    above, below = (le if bracket in "[]" else lt for bracket in bounds)
    return Allowed(
        f"a number {INTERVALS[bounds].format(low, high)}",
        lambda value: is_number(value) and above(low, value) and below(value, high),
    )


def choice(*values: Any) -> Allowed:
    """One of some values, of the same type."""
    text = ", ".join("null" if value is None else str(value).lower() for value in values)
    return Allowed(
        f"one of {text}" if len(values) > 1 else text,
        lambda value: any(type(value) is type(known) and value == known for known in values),
    )


def listed(each: Allowed, least: int = 0, most: int = 1000) -> Allowed:
    """Lists of `least` to `most` values."""
    size = f" of {least}" if least == most else f" of at least {least}" if least else ""
    return Allowed(
        f"a list{size}, each {each.text}",
        lambda value: isinstance(value, list) and least <= len(value) <= most and all(map(each.allows, value)),
    )


NULL = choice(None)
TEXT = Allowed("non-empty text", lambda value: isinstance(value, str) and value != "")
GROUP = Allowed("a group of keys", lambda value: isinstance(value, Mapping))
SAME_TYPE: Mapping[type, Allowed] = {  # values that may replace a default of some type
    bool: Allowed("true or false", lambda value: isinstance(value, bool)),
    int: Allowed("a whole number", lambda value: is_number(value, int)),
    float: Allowed("a finite number", is_number),
    list: Allowed("a list", lambda value: isinstance(value, list)),
    dict: GROUP,
}
