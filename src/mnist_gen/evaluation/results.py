"""How a run shows its metrics: a table on the screen, and a row in TensorBoard's HPARAMS."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from omegaconf import DictConfig
from torch.utils.tensorboard.summary import hparams

from mnist_gen.evaluation.metrics import METRICS
from mnist_gen.runs import layout
from mnist_gen.runs.config import PLACES, flat, plain
from mnist_gen.runs.loggers import Events, log_metrics
from mnist_gen.system.screen import RESULT, shortened

COLLAPSED = 0.05  # a lower coverage means that there are only a few pictures
SAME_PICTURE = 0.2  # a lower diversity means that all samples of a digit are one picture

log = logging.getLogger(__name__)


def about_all_digits(metrics: Mapping[str, float]) -> dict[str, float]:
    """The test metrics without those of single digits, named without `test/`."""
    found = {name.removeprefix("test/"): value for name, value in metrics.items() if name.startswith("test/")}
    return {name: value for name, value in found.items() if name not in METRICS or METRICS[name].digit is None}


def beside_floor(metrics: Mapping[str, float]) -> list[list[str]]:
    """Name, value and real-data floor of each test metric, as text; without a floor, an empty one."""
    return [
        [name, f"{value:.4f}", f"{metrics[f'floor/{name}']:.4f}" if f"floor/{name}" in metrics else ""]
        for name, value in about_all_digits(metrics).items()
    ]


def show(folder: Path, metrics: Mapping[str, float]) -> None:
    """Says the test metrics beside the real-data floor, warnings of a collapse, and where the files are."""
    has_floor = any(name.startswith("floor/") for name in metrics)
    lines = [f"{'metric':<18}{'value':>10}" + (f"{'real data':>13}" if has_floor else "")]
    lines += [f"{name:<18}{value:>10}{floor:>13}".rstrip() for name, value, floor in beside_floor(metrics)]
    log.log(RESULT, "%s", "\n".join(["", *lines]))
    coverage = metrics.get("test/coverage", 1.0)
    look = ": see figures/grid.png" if (folder / "figures/grid.png").exists() else ""
    if coverage < COLLAPSED:
        log.warning("The samples are a few pictures, coverage %.3f%s.", coverage, look)
    if metrics.get("test/worst_diversity", 1.0) < SAME_PICTURE:
        log.warning("All samples of a digit are one picture%s.", look)
    left = [name for name in ("figures", layout.METRICS, str(layout.BEST)) if (folder / name).exists()]
    left += [path.name for path in sorted(folder.glob("*-profile*"))]
    lines = ["", shortened(folder), f"  {'  '.join(left)}"]
    if any(folder.glob("events.out.tfevents.*")):
        lines.append(f"  tensorboard --logdir {shortened(folder.parent)}")
    log.log(RESULT, "%s", "\n".join(lines))


def log_hparams(trainer: L.Trainer, cfg: DictConfig, metrics: Mapping[str, float]) -> None:
    """Writes one HPARAMS row: settings of data and model, and the test metrics that are not of single digits.

    TensorBoard shows what differs between runs first, in the order of names. A capital puts the experiment first there.

    The experiment summary, which lists all keys, is left out: TensorBoard would apply the list of one run to all of
    them. Without it TensorBoard shows every key of every run.
    """
    results = {f"test/{name}": value for name, value in about_all_digits(metrics).items()}
    if not results:
        return
    settings = {"Experiment": cfg.run.experiment or "", "tags": " ".join(cfg.tags), "seed": cfg.seed}
    settings |= {"epochs": cfg.trainer.max_epochs} | _settings("data", cfg) | _settings("model", cfg)
    floor = {name: value for name, value in metrics.items() if name.startswith("floor/")}
    log_metrics(trainer, results | floor)
    _, start, end = hparams(settings, results)
    for logger in trainer.loggers:
        if isinstance(logger, Events):
            logger.attempt(logger.experiment.file_writer.add_summary, start)
            logger.attempt(logger.experiment.file_writer.add_summary, end)


def _settings(part: str, cfg: DictConfig) -> dict[str, Any]:
    """Keys and values of a part of the configuration; a network, loss or rendering by its class."""
    settings: dict[str, Any] = {}
    for key, value in flat(plain(cfg[part])):
        parent, _, name = key.rpartition(".")
        if name == "_target_":
            settings[parent or part] = value.rpartition(".")[2]
        elif name not in ("_partial_", "fused", "seed") and f"{part}.{key}" not in PLACES:
            settings[key] = value if isinstance(value, int | float) else str(value)
    return settings
