"""The gzip files of an MNIST-like data set: download, verify, unpack, each atomically."""

import gzip
import struct
import tempfile
import zlib
from pathlib import Path

from torchvision.datasets.utils import check_integrity, download_url

from mnist_gen.errors import UserError
from mnist_gen.system.files import FolderLock, write_now


def provide(packed: Path, md5: str, mirrors: list[str]) -> None:
    """Downloads a file if it is missing, and verifies it."""
    if not packed.exists():
        _download(packed, md5, mirrors)
    if not check_integrity(packed, md5):
        raise UserError(
            f"{packed} is corrupt (its MD5 is not {md5}): move it away to download it again, "
            f"or restore it with `git checkout -- {packed}`."
        )


def _download(packed: Path, md5: str, mirrors: list[str]) -> None:
    """Downloads a file into a temporary folder and moves it into place."""
    for mirror in mirrors:
        try:
            packed.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=packed.parent) as folder:
                download_url(mirror + packed.name, folder, packed.name, md5)
                Path(folder, packed.name).replace(packed)
            return
        except (OSError, RuntimeError) as error:  # a URLError is an OSError, a wrong MD5 a RuntimeError
            reason = error
    raise UserError(
        f"{packed} is missing and could not be downloaded ({reason}): put the file there by hand, "
        "or name a folder that has it, data.root=<folder>."
    )


def unpack(packed: Path, unpacked: Path) -> None:
    """Unpacks a file unless an intact copy exists. The end of a gzip file holds the CRC-32 and size to compare with."""
    content = packed.read_bytes()
    crc, size = struct.unpack("<II", content[-8:])
    if unpacked.is_file() and unpacked.stat().st_size == size and zlib.crc32(unpacked.read_bytes()) == crc:
        return
    try:
        lock = FolderLock(unpacked.parent, wait=True)  # another process may be unpacking it
        try:
            write_now(unpacked, gzip.decompress(content))
        finally:
            lock.release()
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{unpacked.parent} cannot be written ({reason}): set data.cache=<folder>.") from None
