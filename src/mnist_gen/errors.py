"""Exceptions that users see.

`train.py` prints each of these as one line. Any other exception is a bug and shows a traceback.
"""

from collections.abc import Sequence
from typing import Any


class UserError(Exception):
    """A mistake that the user can correct: one line that names the thing and the remedy."""


class Refused(BaseException):
    """A `UserError` raised where Hydra would swallow an `Exception`: before a run or a sweep begins."""


class Interrupted(BaseException):
    """Ctrl-C, SIGTERM or SIGHUP. It is no `Exception`, so it ends a whole sweep."""


def check_choice(key: str, value: Any, choices: Sequence[Any]) -> None:
    """Raises a `UserError` unless a value is one of the choices."""
    if value not in choices:
        raise UserError(f"{key}={value}: choose {'one of ' * (len(choices) > 1)}{', '.join(map(str, choices))}.")


def check_least(key: str, value: int, least: int) -> None:
    """Raises a `UserError` if a number is too small."""
    if value < least:
        raise UserError(f"{key}={value}: must be at least {least}.")


def check_odd(key: str, value: int | Sequence[int], why: str) -> None:
    """Raises a `UserError` unless a number, or each of several, is odd; `why` ends the sentence."""
    if any(number % 2 == 0 for number in ([value] if isinstance(value, int) else value)):
        raise UserError(f"{key}={value}: must be odd, {why}.")


def check_divisor(key: str, value: int, of: int, name: str = "") -> None:
    """Raises a `UserError` unless a number divides `of`; the message may call it by a name."""
    if of % value:
        raise UserError(f"{key}={value}: must be a divisor of {name or of}.")
