"""The folder of the running command: its lock, its errors, and the command that continues it. Imports no torch."""

import logging
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from mnist_gen.errors import UserError
from mnist_gen.runs.layout import ERROR, LAST, PREVIOUS, quoted
from mnist_gen.system.files import LOCK, NO_ROOM, OWNER, FolderLock, forget_waiting, is_first_process, write_now

MACHINE_KEYS = (
    "root",
    "data.root",
    "data.cache",
    "data.path",
    "scorer",
)  # paths that a checkpoint's configuration does not set
WORTHLESS = (".hydra", "train.log", LOCK, OWNER, "hparams.yaml")  # files of a command that has done nothing yet

log = logging.getLogger(__name__)


@dataclass
class Opened:
    """The folder of this command's run or sweep."""

    folder: Path
    lock: FolderLock | None
    made: Path | None  # the outermost folder that this command created for it
    used: bool = False  # whether it holds more than `WORTHLESS` files


_opened: Opened | None = None
_job: Path | None = None  # the folder of a sweep's job


def first_missing(folder: Path) -> Path | None:
    """The outermost missing folder of a path; None if the path exists."""
    missing = [path for path in (folder.absolute(), *folder.absolute().parents) if not path.exists()]
    return missing[-1] if missing else None


def open_folder(folder: Path, made: Path | None) -> None:
    """Locks the folder of this command's run or sweep.

    Args:
        folder: where it writes.
        made: the outermost folder that this command creates for it.

    Raises:
        UserError: another process writes there, or it cannot be written.
    """
    global _opened
    try:
        _opened = Opened(folder, FolderLock(folder) if is_first_process() else None, made)
    except OSError as error:
        raise unwritable(folder, error) from None


def unwritable(folder: Path, error: OSError) -> UserError:
    """The error for a run's folder that cannot be written."""
    return UserError(
        f"{folder}: {error.strerror or error}: choose a folder that can be written, hydra.run.dir=<folder>."
    )


def keep_folder() -> None:
    """Keeps the run's folder from now on, because the run has begun."""
    if _opened is not None:
        _opened.used = True


def close_folder() -> None:
    """Unlocks the folder, and removes it if this command created it and did nothing."""
    global _opened
    opened, _opened = _opened, None
    if opened is None:
        return
    if opened.made is not None and not opened.used:
        with suppress(OSError):  # it holds other files
            _remove_worthless(opened.folder.absolute(), opened.made)
    if opened.lock is not None:
        opened.lock.release()


def _remove_worthless(folder: Path, outermost: Path) -> None:
    """Removes the folder, and empty folders around it, if it holds only `WORTHLESS` files."""
    found = list(folder.iterdir()) if folder.is_dir() else []
    if not all(path.name in WORTHLESS or path.name.startswith("events.out.tfevents.") for path in found):
        return
    for path in found:
        for inner in path.glob("*.yaml") if path.is_dir() else ():
            inner.unlink()
        path.rmdir() if path.is_dir() else path.unlink()
    for path in (folder, *folder.parents):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        if path in (outermost, path.parent):
            break


@contextmanager
def job() -> Iterator[None]:
    """Inside, a job of a sweep locks its folder."""
    from hydra.core.hydra_config import HydraConfig  # here, so that signals are handled before this slow import
    from hydra.types import RunMode

    global _job
    config = HydraConfig.get()
    if config.mode != RunMode.MULTIRUN:
        yield
        return
    _job = Path(config.runtime.output_dir)
    lock = FolderLock(_job) if is_first_process() else None
    try:
        (_job / ERROR).unlink(missing_ok=True)
        yield
    finally:
        forget_waiting()
        if lock is not None:
            lock.release()


def note_error(text: str) -> None:
    """Writes an error to train.log, and its last line to the folder of a sweep's job."""
    record = logging.LogRecord("mnist_gen", logging.ERROR, __file__, 0, text, None, None)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)
    if _job is not None and _job.is_dir():
        with suppress(OSError):
            write_now(_job / ERROR, f"{text.splitlines()[-1].removeprefix('error: ')}\n")


def of_the_system(error: OSError, words: Sequence[str]) -> str:
    """An error of the operating system in one line; on a full disk, with the command that continues."""
    text = f"{error.filename}: {error.strerror or error}" if error.filename else str(error)
    if error.errno in NO_ROOM:
        return f"{text}. Free some space. Go on: {command_that_goes_on(words)}"
    if _opened is not None and str(error.filename or "").startswith(str(_opened.folder)):
        return f"{text}: choose a folder that can be written, hydra.run.dir=<folder>."
    return f"{text}."


def command_that_goes_on(words: Sequence[str]) -> str:
    """The command that continues after a signal or a full disk.

    A single run with a checkpoint continues by `ckpt=<folder>`. Any other command is repeated: a sweep skips complete
    jobs, and finished pretrained models are found.

    Args:
        words: the command's arguments.
    """
    folder = _opened.folder if _opened is not None else None
    multirun = {"-m", "--multirun"} & {*words}
    if folder is not None and not multirun and any((folder / name).exists() for name in (LAST, PREVIOUS)):
        free = MACHINE_KEYS if not any(word.startswith("ckpt=") for word in words) else ("trainer", *MACHINE_KEYS)
        kept = [word for word in words if any(f"{_key(word)}.".startswith(f"{key}.") for key in free)]
        words = [f"ckpt={quoted(str(folder.absolute()))}", *kept]
    return f"python {shlex.join([sys.argv[0], *words])}"


def _key(word: str) -> str:
    return word.lstrip("+").partition("=")[0]
