"""The gzip files of an MNIST-like data set: download, verify, unpack, each atomically."""

import gzip
import hashlib
import tempfile
import zlib
from pathlib import Path

from torchvision.datasets.utils import download_url

from mnist_gen.errors import UserError
from mnist_gen.system.files import FolderLock, write_now


def download(mirrors: list[str], packed: Path, md5: str) -> None:
    """Downloads one file into a temporary folder and moves it into place.

    Raises:
        UserError: no mirror provides it.
    """
    for mirror in mirrors:
        try:
            packed.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=packed.parent) as folder:
                download_url(mirror + packed.name, folder, packed.name, md5)
                Path(folder, packed.name).replace(packed)
            return
        except (OSError, RuntimeError) as error:  # a URLError is an OSError, a wrong MD5 a RuntimeError
            reason = error
    raise UserError(f"{packed} is missing and could not be downloaded ({reason}): put the file there by hand.")


def verify(packed: Path, md5: str) -> None:
    """Checks a file's MD5.

    Raises:
        UserError: it differs, or the path is not a file.
    """
    if not packed.is_file():
        raise UserError(f"{packed} is not a file: move it away to download it again.")
    found = hashlib.md5(packed.read_bytes(), usedforsecurity=False).hexdigest()
    if found != md5:
        raise UserError(
            f"{packed} is corrupt (MD5 {found}, expected {md5}): delete it to download it again, "
            f"or restore it with `git checkout -- {packed}`."
        )


def unpack(packed: Path, unpacked: Path) -> None:
    """Unpacks a file unless an intact copy exists. The gzip trailer holds the size and CRC-32 to compare with.

    Raises:
        UserError: the folder is not writable.
    """
    trailer = packed.read_bytes()[-8:]
    crc, size = int.from_bytes(trailer[:4], "little"), int.from_bytes(trailer[4:], "little")
    if unpacked.is_file() and unpacked.stat().st_size == size and zlib.crc32(unpacked.read_bytes()) == crc:
        return
    try:
        lock = FolderLock(unpacked.parent, wait=True)  # another process may be unpacking it
        try:
            with gzip.open(packed) as content:
                write_now(unpacked, content.read())
        finally:
            lock.release()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{unpacked.parent} cannot be written ({reason}): set data.cache=<folder>.") from None
