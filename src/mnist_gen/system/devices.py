"""What this machine's devices are and can do, asked without importing torch."""

import ctypes
import platform
import re
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")  # only Linux has it


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
    flags = _fields(_cpuinfo()).get("flags", "").split()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def processor() -> str:
    """The processor's name, with its generation where virtual machines hide the model: `AMD EPYC (Zen 4)`."""
    return processor_name(_cpuinfo()) or platform.processor() or platform.machine()


def processor_name(cpuinfo: str) -> str:
    """As `processor`, from the text of /proc/cpuinfo; empty if that gives no name.

    Zen 3 and Zen 4 share a family, and only Zen 4 has AVX-512.
    """
    fields = _fields(cpuinfo)
    name, family = fields.get("model name", ""), fields.get("cpu family")
    if not name.startswith("AMD") or any(char.isdigit() for char in name):
        return name
    fourth = "avx512f" in fields.get("flags", "").split()
    generation = {"25": "Zen 4" if fourth else "Zen 3", "26": "Zen 5"}.get(str(family))
    return f"{name} ({generation})" if generation else name


def _cpuinfo() -> str:
    return CPUINFO.read_text() if CPUINFO.exists() else ""


def _fields(cpuinfo: str) -> dict[str, str]:
    """Those of the first processor."""
    first = cpuinfo.partition("\n\n")[0]
    return dict(re.findall(r"^([^\t:]+?)[ \t]*:[ \t]*(.*)$", first, re.MULTILINE))
