"""Files that are written whole or not at all, and folders into which one process at a time writes.

Imports no torch: Hydra needs it before each job.
"""

import errno
import json
import logging
import os
import socket
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mnist_gen.errors import UserError
from mnist_gen.system import signals

PART = ".mnist_gen.part"  # the end of the name of a file that is being written
WRITTEN = ("", "checkpoints", "figures")  # folders within a run's into which files are written
LOCK, OWNER = ".lock", ".owner"
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # by which launchers number processes

log = logging.getLogger(__name__)

_waiting: dict[Path, tuple[bytes | str, Path | None]] = {}  # what a full disk did not take


def write(path: Path, content: bytes | str, keep: Path | None = None) -> None:
    """Writes a file whole: beside its place, to the disk, and then renamed.

    On a full disk the content waits in memory, which is said once, and is written with the next file that finds room;
    `settle` insists on it.

    Args:
        path: the file; its folder is made.
        content: bytes, or text.
        keep: where the file that was there before goes.

    Raises:
        OSError: it cannot be written, for another reason.
    """
    waited = bool(_waiting)
    _waiting[path] = (content, keep)
    try:
        settle()
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        if not waited:
            log.warning("%s: the disk is full. What it does not take waits in memory; free some space.", path)


def settle() -> None:
    """Writes what waits in memory.

    Raises:
        OSError: it still cannot be written.
    """
    for path, (content, keep) in list(_waiting.items()):
        try:
            write_now(path, content, keep)
        except OSError as error:
            if error.errno not in NO_ROOM:
                del _waiting[path]
            raise
        del _waiting[path]


def forget_waiting() -> None:
    """Gives up what a full disk did not take."""
    _waiting.clear()


def write_now(path: Path, content: bytes | str, keep: Path | None = None) -> None:
    """As `write`, but a full disk is an error.

    Raises:
        OSError: the file cannot be written; nothing of it is left.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}{PART}")
    try:
        with signals.held():
            with part.open("wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            if keep is not None and path.is_file():
                path.replace(keep)
            part.replace(path)
            _sync(path.parent)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # for a full disk names none
        raise


def _sync(folder: Path) -> None:
    """Makes the names in a folder last through a power cut, where folders can be opened."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def clear_parts(folder: Path) -> None:
    """Removes what killed processes left half written in a folder that this process alone writes into."""
    for inner in WRITTEN:
        for part in (folder / inner).glob(f".*{PART}"):
            if part.is_file():
                part.unlink(missing_ok=True)


def is_first_process() -> bool:
    """Whether this is the only process of a run, or the one of several that writes."""
    return all(os.environ.get(name, "0") == "0" for name in RANKS)


class FolderLock:
    """Keeps other processes out of a folder until `release`, or until this process ends in any way.

    Args:
        folder: made if it is not there.
        wait: whether to wait for another process.

    Raises:
        UserError: another process writes there.
    """

    def __init__(self, folder: Path, wait: bool = False) -> None:
        self.owner = folder / OWNER
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / LOCK)
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            if not wait:
                raise UserError(f"{folder}: {self._who()} writes there; wait for it, or stop it.") from None
            log.info("Waiting for %s, which writes to %s.", self._who(), folder)
            self._lock.acquire()
        self.owner.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        clear_parts(folder)

    def _who(self) -> str:
        owner = read_json(self.owner)
        if not isinstance(owner, dict) or not {"pid", "host"} <= owner.keys():
            return "another process"
        return f"process {owner['pid']} on {owner['host']}"

    def release(self) -> None:
        """Lets others in."""
        self.owner.unlink(missing_ok=True)
        self._lock.release()


def read_json(path: Path) -> Any:
    """The content of a JSON file, or None where there is none that can be read."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
