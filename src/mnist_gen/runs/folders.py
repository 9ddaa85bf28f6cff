"""The folder of the running command: its lock, its errors, and the command that continues it. Imports no torch."""

import logging
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from mnist_gen.errors import Interrupted, Refused, UserError
from mnist_gen.runs.layout import ERROR, LAST, PREVIOUS, SUMMARY, quoted
from mnist_gen.runs.limits import within
from mnist_gen.system import signals
from mnist_gen.system.files import (
    LOCK,
    NO_ROOM,
    OWNER,
    FolderLock,
    forget_waiting,
    is_first_process,
    locked,
    read_json,
    write_now,
)

PATHS = ("root", "data.root", "data.cache", "data.path")  # this machine's, whatever a checkpoint says
FREE_TO_GO_ON = ("trainer", *PATHS, "scorer", "quiet", "trust", "logger")  # keys that may be set beside `ckpt`
WORTHLESS = (".hydra", "train.log", LOCK, OWNER, "hparams.yaml")  # files of a command that has done nothing yet
ELSEWHERE = "choose a folder that can be written, hydra.run.dir=<folder>."


@dataclass
class Opened:
    """The folder of this command's run or sweep."""

    folder: Path
    lock: FolderLock | None
    made: Path | None  # the outermost folder that this command created for it; None if the folder stays in any case
    since: float = field(default_factory=time.time)


_opened: Opened | None = None
_job: Path | None = None  # the folder of a sweep's job
_trusted: Sequence[str] = ()


def first_missing(folder: Path) -> Path | None:
    """The outermost missing folder of a path; None if the path exists."""
    missing = [path for path in (folder.absolute(), *folder.absolute().parents) if not path.exists()]
    return missing[-1] if missing else None


def open_folder(folder: Path, made: Path | None) -> None:
    """Locks the folder of this command's run or sweep. `made` is the outermost folder that the command creates."""
    global _opened
    try:
        _opened = Opened(folder, FolderLock(folder) if is_first_process() else None, made)
    except UserError as error:
        raise Refused(str(error)) from None
    except OSError as error:
        raise Refused(f"{folder}: {error.strerror or error}: {ELSEWHERE}") from None


def keep_folder() -> None:
    """Keeps the run's folder from now on, because the run has begun."""
    if _opened is not None:
        _opened.made = None


def close_folder() -> None:
    """Unlocks the folder, and removes it if this command created it and did nothing."""
    global _opened
    opened, _opened = _opened, None
    if opened is not None and opened.made is not None:
        with suppress(OSError):  # it holds other files
            _remove_worthless(opened.folder.absolute(), opened.made)
    if opened is not None and opened.lock is not None:
        opened.lock.release()


def _remove_worthless(folder: Path, outermost: Path) -> None:
    """Removes the folder, and empty folders around it, if it holds only `WORTHLESS` files."""
    found = list(folder.iterdir())
    if not all(path.name in WORTHLESS or path.name.startswith("events.out.tfevents.") for path in found):
        return
    for path in found:
        for inner in path.glob("*.yaml") if path.is_dir() else ():
            inner.unlink()
        path.rmdir() if path.is_dir() else path.unlink()
    for path in (folder, *folder.parents):
        path.rmdir()
        if path == outermost:
            return


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
    if _opened is None:  # in a process of a parallel sweep
        signals.listen_in_worker()
    try:
        with locked(_job):
            try:
                (_job / ERROR).unlink(missing_ok=True)
                yield
            finally:
                forget_waiting()
    except Interrupted:
        if _opened is None:
            time.sleep(signals.PATIENCE)  # joblib would kill the other jobs if this one returned
        raise


def failed_jobs() -> str:
    """Says how many jobs of this command's sweep have failed, on whatever machine. Older failures do not count."""
    if _opened is None:
        return ""
    errors = [path for path in _opened.folder.rglob(ERROR) if path.stat().st_mtime >= _opened.since]
    return f"Failed jobs: {len(errors)}; see {_opened.folder / SUMMARY}." if errors else ""


def stop_jobs() -> None:
    """Stops the jobs of a parallel sweep, and waits until they have saved their work."""
    running = _child_jobs()
    for process in running.values():
        with suppress(OSError):
            os.kill(process, signal.SIGTERM)
    while any(owner.exists() for owner in running):  # at most for `signals.PATIENCE`
        time.sleep(0.05)


def _child_jobs() -> dict[Path, int]:
    """The owner files of jobs that processes of this command are doing, and these processes' numbers."""
    found = {}
    for owner in _opened.folder.rglob(OWNER) if _opened is not None else ():
        with suppress(OSError, KeyError, TypeError, IndexError):  # the job has just ended
            process = int(read_json(owner)["pid"])
            parent = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == os.getpid():  # a killed process may have left the file
                found[owner] = process
    return found


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
        return f"{text}: {ELSEWHERE}"
    return f"{text}."


def arguments() -> list[str]:
    """The arguments of this command, also in the processes of its sweep."""
    return shlex.split(os.environ.get("MNIST_GEN_ARGUMENTS", ""))


def note_packages(packages: Sequence[str]) -> None:
    """Notes the user's own packages that the job's configuration names; `command_that_goes_on` trusts them."""
    global _trusted
    _trusted = packages


def _sources(words: Sequence[str]) -> list[str]:
    """What adds configurations to a command."""
    kept = [word for word in words if word.startswith(("--config-dir=", "-cd=", "hydra.searchpath="))]
    apart = [number for number, word in enumerate(words) if word in ("--config-dir", "-cd")]
    return kept + [word for number in apart for word in words[number : number + 2]]


def command_that_goes_on(words: Sequence[str]) -> str:
    """The command with the arguments `words`, changed so that it continues after a signal or a full disk.

    A single run with a checkpoint continues by `ckpt=<folder>`. Any other command is repeated: a sweep skips complete
    jobs, and finished pretrained models are found.
    """
    folder = _opened.folder if _opened is not None else None
    multirun = {"-m", "--multirun"} & {*words}
    if folder is not None and not multirun and any((folder / name).exists() for name in (LAST, PREVIOUS)):
        goes_on = any(word.startswith("ckpt=") for word in words)
        free = FREE_TO_GO_ON if goes_on else FREE_TO_GO_ON[1:]  # the checkpoint has the first command's trainer
        kept = [word for word in words if within(word.lstrip("+").partition("=")[0], free)]
        trust = [f"trust=[{','.join(_trusted)}]"] if _trusted and not any(w.startswith("trust=") for w in kept) else []
        words = [f"ckpt={quoted(str(folder.absolute()))}", *kept, *trust, *_sources(words)]
    return command(words)


def command(words: Sequence[str]) -> str:
    """This program with some arguments, as one types it."""
    name = Path(sys.argv[0])
    return shlex.join(["python", str(name), *words] if name.suffix == ".py" else [name.name, *words])
