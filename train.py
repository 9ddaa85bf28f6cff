"""The one entry: Hydra composes a configuration, `mnist_gen.run` does the work."""

import logging
import os
import sys
import threading
import traceback
from multiprocessing import current_process
from pathlib import Path

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "src"))  # runs from a clone as it is, installed or not

from mnist_gen.errors import Interrupted, Refused, UserError  # noqa: E402
from mnist_gen.runs import folders, overview  # noqa: E402
from mnist_gen.system import files, signals  # noqa: E402

typed = sys.argv[1:]


def farewell() -> None:
    """What a command does last that a signal stops."""
    try:
        print(f"Interrupted. Go on: {folders.command_that_goes_on(typed)}", file=sys.stderr)
    finally:  # the terminal may be closed
        folders.close_folder()


def quiet(failed: threading.ExceptHookArgs) -> None:
    """A thread that cannot write (TensorBoard's, on a full disk) is spoken of by those who ask it to."""
    if not isinstance(failed.exc_value, OSError):
        threading.__excepthook__(failed)


if __name__ == "__main__":
    signals.listen(farewell)
    threading.excepthook = quiet

import hydra  # noqa: E402
from hydra.errors import HydraException  # noqa: E402
from omegaconf import DictConfig  # noqa: E402
from omegaconf.errors import OmegaConfBaseException  # noqa: E402

from mnist_gen.runs.command_line import check_arguments  # noqa: E402
from mnist_gen.runs.config import one_line  # noqa: E402
from mnist_gen.system import screen  # noqa: E402

USERS = (UserError, HydraException, OmegaConfBaseException)
full = os.environ.get("HYDRA_FULL_ERROR") == "1"  # the user wants the whole traceback
os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us instead of Hydra's multi-line report
os.environ.setdefault("MNIST_GEN_ROOT", str(ROOT))
logging.raiseExceptions = False  # a full disk is no reason for a traceback of a log


failed = False


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float | None:
    """Runs the task, importing torch only now. A failure is reported at once; a sweep goes on with its other jobs."""
    logging.captureWarnings(True)
    if not files.is_first_process():  # the first one says it all
        screen.be_quiet(logging.ERROR)
    elif cfg.quiet or current_process().name != "MainProcess":  # one of several jobs
        screen.be_quiet()
    try:
        with folders.job():
            return hydra.utils.get_method(f"mnist_gen.run.{cfg.task}")(cfg)
    except Exception as error:
        if signals.asked():  # a closed terminal makes writing fail while the command stops
            raise Interrupted from error
        report(error)
    global failed
    failed = True
    return None


def report(error: BaseException) -> None:
    """One line for what the user can mend, a traceback for a bug; on the screen and in the run's train.log."""
    text = f"error: {folders.of_the_system(error, typed) if isinstance(error, OSError) else one_line(error)}"
    if full or not isinstance(error, (*USERS, Refused, OSError)):
        text = "".join(traceback.format_exception(error)).rstrip()
    folders.note_error(text)
    print(text, file=sys.stderr)


if __name__ == "__main__":
    try:
        if (others := overview.asked_for(typed)) is not None:
            print(overview.overview([ROOT / "conf", *others]))
        else:
            sys.argv[1:] = check_arguments(str(ROOT / "conf"), typed)
            main()
        files.settle()
        if failures := folders.failed_jobs():
            print(failures, file=sys.stderr)
            failed = True
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (*USERS, Refused, OSError) as error:
        report(error)
        failed = True
    folders.close_folder()
    sys.exit(failed)
