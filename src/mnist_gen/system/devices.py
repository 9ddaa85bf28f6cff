"""Which devices this machine has, asked without importing torch."""

import ctypes
from pathlib import Path


def gpus() -> int:
    """The number of GPUs that a driver answers for: NVIDIA's, or AMD's if its device file is there."""
    try:
        cuda, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
    except OSError:
        return int(Path("/dev/kfd").exists())
    failed = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
    return 0 if failed else count.value
