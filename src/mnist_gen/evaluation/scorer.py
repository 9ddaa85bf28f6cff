"""The scorer's file: the one in the package, or one that `experiment=scorer` made."""

import hashlib
import json
from importlib.resources import files as resources
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from safetensors import SafetensorError
from safetensors.torch import load, save

from mnist_gen.data.mnist import ImageData
from mnist_gen.errors import UserError
from mnist_gen.evaluation.classifier import Classifier
from mnist_gen.networks.classifiers import Scorer
from mnist_gen.runs.folders import command
from mnist_gen.runs.loggers import run_folder
from mnist_gen.system import files
from mnist_gen.training.trainer import data_of, model_of

MOST_BYTES = 2**26  # in a scorer's file
PACKAGED_SCORER = "259b93bb00b32a8aa0b775e4ae8bd46b3ed0dece672b1a55d0ccd391031445e1"  # SHA-256


def load_scorer(path: str | None, dataset: str) -> Scorer:
    """The scorer at `path`, or the packaged one, frozen; refused if it was trained on another data set."""
    content = _scorer_file(path)
    if path is None and hashlib.sha256(content).hexdigest() != PACKAGED_SCORER:
        raise UserError("scorer: the file in the package is damaged; install mnist_gen again.")
    scorer = Scorer()
    try:
        weights = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        trained_on = header["__metadata__"]["dataset"]
        scorer.load_state_dict(weights)
    except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"scorer={path}: not a scorer ({(str(error).splitlines() or [''])[0]}).") from None
    for name, weight in weights.items():
        if not weight.isfinite().all():
            raise UserError(f"scorer={path}: {name} holds values that are not finite.")
    if trained_on != dataset:
        raise UserError(f"scorer={path} was trained on {trained_on}; train one with experiment=scorer on {dataset}.")
    scorer.to(memory_format=torch.channels_last)  # faster
    return scorer.eval().requires_grad_(False)


def scorer_digest(path: str | None) -> str:
    """The SHA-256 of the scorer's file: metrics are comparable only if it is equal."""
    return hashlib.sha256(_scorer_file(path)).hexdigest()


def _scorer_file(path: str | None) -> bytes:
    if path is None:
        return (resources("mnist_gen.evaluation") / "scorer.safetensors").read_bytes()
    if not Path(path).is_file():
        raise UserError(f"scorer={path}: no such file; make one with `{command(['experiment=scorer'])}`.")
    if Path(path).stat().st_size > MOST_BYTES:
        raise UserError(f"scorer={path}: not a scorer (too large).")
    return Path(path).read_bytes()


def scorer_for(path: str | None, dataset: str) -> Scorer | None:
    """As `load_scorer`, or None if no path is given and the package has no scorer for the data set."""
    return None if path is None and dataset != "MNIST" else load_scorer(path, dataset)


class ExportScorer(Callback):
    """Writes the tested classifier as `scorer.safetensors`, for `scorer=<path>`, with its data set and accuracy."""

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        accuracy = float(trainer.callback_metrics["test/accuracy"])
        about = {"dataset": data_of(trainer, ImageData).dataset, "test_accuracy": f"{accuracy:.4f}"}
        weights = model_of(pl_module, Classifier).network.state_dict()
        content = save({name: weight.contiguous() for name, weight in weights.items()}, about)
        files.write(run_folder(trainer) / "scorer.safetensors", content)
