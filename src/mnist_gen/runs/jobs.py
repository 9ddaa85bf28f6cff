"""What Hydra runs: one job of a command, alone or in a sweep. Imports torch only inside a job."""

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from multiprocessing import current_process

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from mnist_gen.errors import Interrupted, Refused, UserError
from mnist_gen.runs import folders, tasks
from mnist_gen.runs.config import CONF, CONFIG_NAME, one_line, own_packages
from mnist_gen.system import files, screen, signals

USERS = (UserError, HydraException, OmegaConfBaseException)
ANSWERED = (*USERS, Refused, OSError)  # errors that are answered in one line

failed = False  # whether the job of a command has failed; a sweep has files of its failures


@hydra.main(version_base="1.3", config_path=CONF, config_name=CONFIG_NAME)
def job(cfg: DictConfig) -> float | None:
    """Runs the task, importing torch only now. A failure is reported at once; a sweep goes on with its other jobs."""
    logging.raiseExceptions = False  # a full disk is no reason for a traceback of a log
    logging.captureWarnings(True)
    if not files.is_first_process():  # the first one says it all
        screen.be_quiet(logging.ERROR)
    elif cfg.quiet or current_process().name != "MainProcess":  # one of several jobs
        screen.be_quiet()
    folders.note_packages(own_packages(cfg))
    try:
        with folders.job():  # by name, because tasks import torch and everything that runs import
            return hydra.utils.get_method(tasks.function_of(cfg.task))(cfg)
    except Exception as error:
        if signals.asked():  # a closed terminal makes writing fail while the command stops
            raise Interrupted from error
        report(error, cfg)
    global failed
    failed = True
    return None


def report(error: BaseException, cfg: DictConfig | None = None) -> None:
    """One line for what the user can mend, a traceback for a bug; on the screen and in the run's train.log.

    Errors inside code that the configuration `cfg` names, and that is not ours, are bugs of its author.
    """
    one = folders.of_the_system(error, folders.arguments()) if isinstance(error, OSError) else one_line(error)
    text = f"error: {one}"
    wants_all = os.environ.get("MNIST_GEN_FULL_ERROR") == "1"
    if wants_all or not isinstance(error, ANSWERED) or (cfg is not None and _is_of_own_code(error, cfg)):
        text = "".join(traceback.format_exception(error)).rstrip()
    folders.note_error(text)
    print(text, file=sys.stderr)


def _is_of_own_code(error: BaseException, cfg: DictConfig) -> bool:
    """Whether the error passed through a package of the user's, and is no UserError in the end."""
    chain = list(_chain(error))
    packages = {*own_packages(cfg), *(name.partition(".")[0] for name in cfg.get("trust", ()))}
    frames = (frame for each in chain for frame, _ in traceback.walk_tb(each.__traceback__))
    own = any(frame.f_globals.get("__name__", "").partition(".")[0] in packages for frame in frames)
    return own and not any(isinstance(each, UserError) for each in chain)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
