"""What this machine's devices can do, asked without importing torch."""

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


def computes_bf16() -> bool:
    """Whether the processor has instructions for bfloat16; others compute it in software, slower than float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
