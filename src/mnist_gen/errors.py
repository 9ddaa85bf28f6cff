"""The exceptions a user should meet; `train.py` prints each as one line. Every other one is a bug with a traceback."""


class UserError(Exception):
    """Something the user can mend: one line that names the thing and the remedy."""


class Refused(BaseException):
    """A `UserError` where Hydra would swallow an `Exception`: before a run or a sweep has begun."""


class Interrupted(BaseException):
    """Ctrl-C, SIGTERM or SIGHUP; not an `Exception`, so that it ends a whole sweep."""


def check_choice(key: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuses a value that is none of the choices.

    Raises:
        UserError: it names the key, the value and the choices.
    """
    if value not in choices:
        raise UserError(f"{key}={value}: choose one of {', '.join(choices)}.")
