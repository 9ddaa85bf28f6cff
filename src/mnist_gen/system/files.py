"""Atomic file writes, and locks that keep other processes out of a folder.

Imports no torch: Hydra needs this module before each job.
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

PART = ".mnist_gen.part"  # suffix of temporary files
WRITTEN = ("", "checkpoints", "figures")  # subfolders of a run that may hold temporary files
LOCK, OWNER = ".lock", ".owner"
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")  # environment variables in which launchers number processes

log = logging.getLogger(__name__)

_pending: dict[Path, tuple[bytes | str, Path | None]] = {}  # contents that did not fit on a full disk


def write(path: Path, content: bytes | str, keep: Path | None = None) -> None:
    """Writes a file atomically: to a temporary file, flushed to the disk, then renamed.

    If the disk is full, the content stays in memory, with one warning. Each later call retries it, and `settle` raises
    an error if it still does not fit.

    Args:
        path: the file; its folder is created.
        content: bytes or text.
        keep: where to move the previous version of the file.

    Raises:
        OSError: the file cannot be written for any other reason.
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
    """Writes all files that are waiting in memory.

    Raises:
        OSError: one of them still cannot be written.
    """
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
    """Like `write`, but a full disk is an error too.

    Raises:
        OSError: the file cannot be written; no partial file remains.
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
            _sync_folder(path.parent)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # errors of a full disk have no file name
        raise


def _sync_folder(folder: Path) -> None:
    """Makes renames survive a power cut; only POSIX can open folders."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def is_first_process() -> bool:
    """Whether this is a run's only process, or the one of several that writes."""
    return all(os.environ.get(name, "0") == "0" for name in RANKS)


class FolderLock:
    """Keeps other processes out of a folder until `release`, or until this process ends.

    Args:
        folder: created if missing. Temporary files of killed processes are removed from it.
        wait: whether to wait for another process instead of raising an error.

    Raises:
        UserError: another process is writing there.
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
        for part in [part for inner in WRITTEN for part in (folder / inner).glob(f".*{PART}")]:
            if part.is_file():
                part.unlink(missing_ok=True)

    def _who(self) -> str:
        owner = read_json(self.owner)
        if not isinstance(owner, dict) or not {"pid", "host"} <= owner.keys():
            return "another process"
        return f"process {owner['pid']} on {owner['host']}"

    def release(self) -> None:
        """Unlocks the folder."""
        self.owner.unlink(missing_ok=True)
        self._lock.release()


def read_json(path: Path) -> Any:
    """The content of a JSON file; None if the file is missing or broken."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
