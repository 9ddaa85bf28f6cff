"""The command line: checks it, lets Hydra run its jobs, and exits. Imports no torch.

`python train.py` in a clone and the installed `mnist-gen` are the same command.
"""

import os
import shlex
import sys
import threading
from pathlib import Path

from mnist_gen.runs import folders, overview
from mnist_gen.system import files, signals


def main() -> None:
    """Runs the command of `sys.argv`, and exits with 0 if it succeeded, with 1 otherwise."""
    signals.listen(farewell)
    threading.excepthook = quiet
    typed = sys.argv[1:]
    os.environ["MNIST_GEN_ARGUMENTS"] = shlex.join(typed)  # also read by a sweep's other processes
    os.environ.setdefault("MNIST_GEN_FULL_ERROR", os.environ.get("HYDRA_FULL_ERROR", ""))  # before we set that
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us instead of Hydra's multi-line report

    from mnist_gen.runs import jobs  # here, so that signals are handled before the slow import of Hydra
    from mnist_gen.runs.command_line import check_arguments
    from mnist_gen.runs.config import CONF

    failed = False
    try:
        if (others := overview.asked_for(typed)) is not None:
            print(overview.overview([Path(CONF), *others]))
        else:
            sys.argv[1:] = check_arguments(CONF, typed)
            jobs.job()
        files.settle()
        if failures := folders.failed_jobs():
            print(failures, file=sys.stderr)
            failed = True
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except jobs.ANSWERED as error:
        jobs.report(error)
        failed = True
    folders.close_folder()
    sys.exit(int(failed or jobs.failed))  # wandb insists on a number


def farewell() -> None:
    """What a command does last that a signal stops."""
    try:
        print(f"Interrupted. Go on: {folders.command_that_goes_on(folders.arguments())}", file=sys.stderr)
    finally:  # the terminal may be closed
        folders.close_folder()


def quiet(failed: threading.ExceptHookArgs) -> None:
    """A thread's failed write (TensorBoard's, on a full disk) is reported by those who asked for it."""
    if not isinstance(failed.exc_value, OSError):
        threading.__excepthook__(failed)
