"""metrics.json: what a complete run leaves."""

import json
import logging
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from mnist_gen.errors import UserError
from mnist_gen.runs import layout, trust
from mnist_gen.runs.config import differing, plain, recorded
from mnist_gen.system import devices, files

log = logging.getLogger(__name__)


def complete(
    folder: Path, cfg: DictConfig, content: Mapping[str, Any] | None = None, may_differ: bool = False
) -> dict[str, Any] | None:
    """metrics.json of the run in a folder, if that run is complete and has the same configuration.

    Refuses a run with another configuration, unless it may differ. The configuration of an incomplete run stands in
    `content`, its last checkpoint's.
    """
    record = layout.read_record(folder)
    if record is None and (may_differ or content is None):
        return None
    last, trusted = folder / layout.LAST, trust.by_command(cfg)
    there = record["config"] if record else plain(trust.configuration(content or {}, last, trusted=trusted))
    keys = differing(there, plain(cfg))
    if keys and not may_differ:
        raise UserError(f"{folder} holds a run with another {', '.join(keys)}; move it away to run this one.")
    if keys or record is None:
        return None
    log.info("%s is complete: nothing to do.", folder)
    return record


def commit() -> str | None:
    """The code's commit, which ends in `-dirty` if the code differs from it; None outside a git repository."""
    command = ("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty")
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() or None


def write(folder: Path, cfg: DictConfig, results: dict[str, Any]) -> None:
    """Writes metrics.json last and atomically: its presence marks a complete run."""
    versions = {name: version(name) for name in ("torch", "torchvision", "lightning")}
    record = results | {
        "seed": cfg.seed,
        "commit": commit(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions | {"python": platform.python_version()},
        "processor": devices.processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "config": recorded(cfg),
    }
    files.settle()  # all other files must exist first
    files.write_now(folder / layout.METRICS, json.dumps(record, indent=2))


def short_name(processor: str) -> str:
    """A processor's name without what all names have."""
    return " ".join(re.sub(r"\((R|TM)\)|\bProcessor\b|\bCPU\b|@", "", processor).split())
