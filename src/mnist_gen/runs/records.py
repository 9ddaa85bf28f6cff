"""What a run leaves of its figures: metrics.json, a row in TensorBoard's HPARAMS, a table on the screen."""

import json
import logging
import platform
import re
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning as L
import torch
from omegaconf import DictConfig
from torch.utils.tensorboard.summary import hparams

from mnist_gen.errors import UserError
from mnist_gen.runs import layout, trust
from mnist_gen.runs.config import PLACES, differing, flat, plain
from mnist_gen.runs.tensorboard import Events
from mnist_gen.system import files

log = logging.getLogger(__name__)

OF_A_DIGIT = re.compile(r"_\d$")  # such as f1_7
COLLAPSED = 0.05  # coverage below which there are but a few pictures
ALIKE = 0.2  # diversity below which all samples of a digit are one picture


def complete(folder: Path, cfg: DictConfig, kept: Mapping[str, Any] | None, may_differ: bool) -> dict[str, Any] | None:
    """metrics.json of the run in the folder, if that run is complete and has this configuration.

    Args:
        folder: the run's.
        cfg: the configuration.
        kept: the content of its checkpoint, if it has one.
        may_differ: whether a run of another configuration is no error.

    Raises:
        UserError: the run in the folder, complete or not, has another one and may not differ.
    """
    record = layout.read_record(folder)
    if record is None and (may_differ or kept is None):
        return None
    there = record["config"] if record else plain(trust.configuration(kept or {}, folder / layout.LAST))
    keys = differing(there, plain(cfg))
    if keys and not may_differ:
        raise UserError(f"{folder} holds a run with another {', '.join(keys)}; move it away to run this one.")
    return None if keys else record


def numbers(metrics: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Lightning's metrics as plain numbers."""
    return {name: float(value) for name, value in metrics.items()}


def write(folder: Path, cfg: DictConfig, results: dict[str, Any]) -> None:
    """Writes metrics.json, last and whole: where it is, the run is complete.

    Args:
        folder: the run's.
        cfg: its configuration.
        results: its metrics and what else is to be kept.
    """
    here = Path(__file__).parent
    commit = subprocess.run(["git", "-C", here, "describe", "--always", "--dirty"], capture_output=True, text=True)
    record = results | {
        "seed": cfg.seed,
        "commit": commit.stdout.strip() or None,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: version(name) for name in ("torch", "torchvision", "lightning")}
        | {"python": platform.python_version()},
        "threads": torch.get_num_threads(),
        "config": plain(cfg),
    }
    files.settle()  # where metrics.json is, everything is
    files.write_now(folder / layout.METRICS, json.dumps(record, indent=2))


def log_hparams(trainer: L.Trainer, cfg: DictConfig, metrics: Mapping[str, float]) -> None:
    """One HPARAMS row: a constant set of flat keys, and the final test metrics but for those of single digits.

    The experiment's own summary, which says what keys there are, is left out: TensorBoard would show those of one run
    for all of them. Left to find out itself, it shows those of all runs, the ones that differ first. No row without
    metrics.
    """
    settings = {"seed": cfg.seed, "epochs": cfg.trainer.max_epochs}
    settings |= _settings("data", cfg) | _settings("model", cfg)
    results = {
        name: value for name, value in metrics.items() if name.startswith("test/") and not OF_A_DIGIT.search(name)
    }
    if not results:
        return
    assert isinstance(trainer.logger, Events)
    trainer.logger.log_metrics(results)
    _experiment, start, end = hparams(settings, results)
    for summary in (start, end):
        trainer.logger.attempt(trainer.logger.experiment.file_writer.add_summary, summary)
    trainer.logger.finalize("success")


def _settings(part: str, cfg: DictConfig) -> dict[str, Any]:
    """What HPARAMS says of the data or the model: a network, loss or rendering by its class."""
    settings: dict[str, Any] = {}
    for key, value in flat(plain(cfg[part])):
        parent, _, name = key.rpartition(".")
        if name == "_target_":
            settings[parent or part] = value.rpartition(".")[2]
        elif name not in ("_partial_", "fused", "seed") and f"{part}.{key}" not in PLACES:
            settings[key] = value if isinstance(value, int | float) else str(value)
    return settings


def show(folder: Path, metrics: Mapping[str, float]) -> None:
    """A short table, and where the rest lies."""
    compared = any(name.startswith("floor/") for name in metrics)
    print(f"\n{'metric':<18}{'value':>10}" + (f"{'real floor':>13}" if compared else ""))
    for name, value in metrics.items():
        group, _, metric = name.partition("/")
        if group == "test" and not OF_A_DIGIT.search(metric):
            floor = metrics.get(f"floor/{metric}")
            print(f"{metric:<18}{value:>10.4f}" + ("" if floor is None else f"{floor:>13.4f}"))
    for warning in _collapse(metrics):
        log.warning(warning)
    left = [name for name in ("figures", layout.METRICS, str(layout.BEST)) if (folder / name).exists()]
    print(f"\n{folder}\n  {'  '.join(left)}\n  tensorboard --logdir {folder.parent}")


def _collapse(metrics: Mapping[str, float]) -> Iterator[str]:
    """What a generator's table does not say loudly enough."""
    if metrics.get("test/coverage", 1.0) < COLLAPSED:
        yield f"The samples are a few pictures: coverage {metrics['test/coverage']:.3f}. Look at figures/grid.png."
    if metrics.get("test/worst_diversity", 1.0) < ALIKE:
        yield "All samples of a digit are one picture: see worst_diversity, and figures/grid.png."
