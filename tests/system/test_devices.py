"""Processors are named so that records of different machines stay apart."""

from pathlib import Path

import pytest

from mnist_gen.system.devices import computes_bf16, processor, processor_name


@pytest.mark.parametrize(
    ("name", "family", "flags", "expected"),
    [
        ("AMD EPYC", 25, "avx2 avx512f avx512_bf16", "AMD EPYC (Zen 4)"),
        ("AMD EPYC", 25, "avx2", "AMD EPYC (Zen 3)"),
        ("AMD EPYC", 26, "avx2 avx512f", "AMD EPYC (Zen 5)"),
        ("AMD EPYC", 99, "avx2", "AMD EPYC"),
        ("AMD EPYC 9354 32-Core Processor", 25, "avx512f", "AMD EPYC 9354 32-Core Processor"),
        ("Intel(R) Xeon(R) Processor @ 2.50GHz", 6, "avx512f", "Intel(R) Xeon(R) Processor @ 2.50GHz"),
    ],
)
def test_names_the_generation_where_the_model_is_hidden(name: str, family: int, flags: str, expected: str) -> None:
    first = f"processor\t: 0\nvendor_id\t: X\ncpu family\t: {family}\nmodel name\t: {name}\nflags\t\t: fpu {flags}\n"
    assert processor_name(f"{first}power management:\n\n{first.replace(name, 'another')}") == expected


def test_without_cpuinfo_the_platform_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("mnist_gen.system.devices.CPUINFO", tmp_path / "missing")
    monkeypatch.setattr("platform.processor", lambda: "a processor")
    assert processor_name("") == ""
    assert processor() == "a processor"
    assert not computes_bf16()
