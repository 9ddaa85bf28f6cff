"""Exceptions that users see, and the checks that raise them.

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
    """Checks that a value is one of the choices.

    Raises:
        UserError: it is not.
    """
    if value not in choices:
        raise UserError(f"{key}={value}: choose one of {', '.join(map(str, choices))}.")


def check_at_least(least: float, part: str = "", **values: float) -> None:
    """Checks that every value is at least `least`.

    Args:
        least: the smallest value allowed.
        part: the section of the configuration that holds the values, such as `model`.
        values: by their keys.

    Raises:
        UserError: one of them is smaller.
    """
    for key, value in values.items():
        if value < least:
            raise UserError(f"{part and part + '.'}{key}={value}: must be at least {least}.")
