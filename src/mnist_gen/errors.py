"""The exceptions a user should meet; `train.py` prints each as one line. Every other one is a bug with a traceback."""


class UserError(Exception):
    """Something the user can mend: one line that names the thing and the remedy."""


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM, answered between two batches; not an `Exception`, so that it ends a whole sweep."""
