"""The packed files of an MNIST-like set: fetched, verified and unpacked, each whole or not at all."""

import gzip
import hashlib
import tempfile
import zlib
from pathlib import Path

from torchvision.datasets.utils import download_url

from mnist_gen.errors import UserError
from mnist_gen.system.files import FolderLock, write_now


def download(mirrors: list[str], packed: Path, md5: str) -> None:
    """Fetches one file beside its destination and moves it there whole.

    Raises:
        UserError: no mirror gives it.
    """
    for mirror in mirrors:
        try:
            packed.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=packed.parent) as folder:
                download_url(mirror + packed.name, folder, packed.name, md5)
                Path(folder, packed.name).replace(packed)
            return
        except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong MD5 a RuntimeError
            reason = error
    raise UserError(f"{packed} is missing and could not be downloaded ({reason}): put the file there by hand.")


def verify(packed: Path, md5: str) -> None:
    """Compares a file with its checksum.

    Raises:
        UserError: they differ.
    """
    if not packed.is_file():
        raise UserError(f"{packed} is no file: move it away to download it again.")
    found = hashlib.md5(packed.read_bytes(), usedforsecurity=False).hexdigest()
    if found != md5:
        raise UserError(
            f"{packed} is corrupt (MD5 {found}, expected {md5}): delete it to download it again, "
            f"or restore it with `git checkout -- {packed}`."
        )


def unpack(packed: Path, unpacked: Path) -> None:
    """Unpacks by atomic rename, unless a whole copy is there: its size and CRC-32 stand in the gzip trailer.

    Raises:
        UserError: the folder cannot be written.
    """
    trailer = packed.read_bytes()[-8:]
    crc, size = int.from_bytes(trailer[:4], "little"), int.from_bytes(trailer[4:], "little")
    if unpacked.is_file() and unpacked.stat().st_size == size and zlib.crc32(unpacked.read_bytes()) == crc:
        return
    try:
        lock = FolderLock(unpacked.parent, wait=True)  # another process may just unpack it
        try:
            with gzip.open(packed) as content:
                write_now(unpacked, content.read())
        finally:
            lock.release()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{unpacked.parent} cannot be written ({reason}): set data.cache=<folder>.") from None
