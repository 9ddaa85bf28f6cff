"""Memory of the machine and of the process. Imports no torch."""

import ctypes
import os
from pathlib import Path

JOB = 1_500_000_000  # bytes that a run is reckoned to take

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEPT = 2**30  # bytes


def keep_freed_memory() -> None:
    """Keeps up to 1 GiB of freed memory in the process; without glibc, does nothing.

    By default the tensors of each training step are returned to the system, and zeroed pages come back in the next
    step: 5 % of a GAN's step on two cores.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, KEPT)
        mallopt(M_TRIM_THRESHOLD, KEPT)


def available() -> int:
    """Bytes that new processes can take; without /proc/meminfo, all of the machine's memory."""
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, ValueError, KeyError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
