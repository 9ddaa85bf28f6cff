"""Atomic file writes, and locks that keep other processes out of a folder. Imports no torch."""

import errno
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mnist_gen.errors import UserError
from mnist_gen.system import signals

PART = ".mnist_gen.part"  # suffix of temporary files
WRITTEN = ("", "checkpoints", "figures")  # subfolders of a run that may hold temporary files
LOCK, OWNER = ".lock", ".owner"
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # environment variables in which launchers number processes

log = logging.getLogger(__name__)

_pending: dict[Path, tuple[bytes | str, Path | None]] = {}  # contents that did not fit on a full disk


def write(path: Path, content: bytes | str, keep: Path | None = None) -> None:
    """Writes a file atomically: to a temporary file, flushed to the disk, then renamed. The folder is created.

    If the disk is full, the content stays in memory, with one warning. Each later call retries it, and `settle` raises
    an error if it still does not fit. The file's previous version moves to `keep`.
    """
    already_full = bool(_pending)
    _pending[path] = (content, keep)
    try:
        settle()
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        if not already_full:
            log.warning("%s: the disk is full. Unwritten files stay in memory; free some space.", path)


def settle() -> None:
    """Writes all files that are waiting in memory. Raises the OSError if one of them still cannot be written."""
    for path, (content, keep) in list(_pending.items()):
        try:
            write_now(path, content, keep)
        except OSError as error:
            if error.errno not in NO_ROOM:
                del _pending[path]
            raise
        del _pending[path]


def forget_waiting() -> None:
    """Drops all files that are waiting in memory."""
    _pending.clear()


def write_now(path: Path, content: bytes | str, keep: Path | None = None) -> None:
    """Like `write`, but a full disk raises an OSError too. No partial file remains."""
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
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)  # makes the renames survive a power cut
            finally:
                os.close(folder)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # errors of a full disk have no file name
        raise


def is_first_process() -> bool:
    """Whether this is a run's only process, or the one of several that writes."""
    return all(os.environ.get(name, "0") == "0" for name in RANKS)


class FolderLock:
    """Keeps other processes out of a folder until `release`, or until this process ends.

    If another process is writing there, it raises a UserError or waits. It creates the folder, and removes temporary
    files of killed processes from it.
    """

    def __init__(self, folder: Path, wait: bool = False) -> None:
        self.owner = folder / OWNER
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(folder / LOCK)
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            if not wait:
                raise UserError(f"{folder}: {self._who()} is writing there; wait for it, or stop it.") from None
            log.info("Waiting for %s, which is writing to %s.", self._who(), folder)
            self._lock.acquire()
        self.owner.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
        for part in [part for inner in WRITTEN for part in (folder / inner).glob(f".*{PART}") if part.is_file()]:
            part.unlink(missing_ok=True)

    def _who(self) -> str:
        owner = read_json(self.owner)
        known = isinstance(owner, dict) and {"pid", "host"} <= owner.keys()
        return f"process {owner['pid']} on {owner['host']}" if known else "another process"

    def release(self) -> None:
        """Unlocks the folder."""
        self.owner.unlink(missing_ok=True)
        self._lock.release()


@contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[None]:
    """Inside, the run's first process holds a `FolderLock`."""
    lock = FolderLock(folder, wait) if is_first_process() else None
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def read_json(path: Path) -> Any:
    """The content of a JSON file; None if the file is missing or broken."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
