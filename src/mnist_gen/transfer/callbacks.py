"""How well digits are read, beside what the student report measured: per digit, over draws, over the epochs."""

import json
from collections.abc import Mapping
from importlib.resources import files as resources
from typing import Any, Protocol, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from omegaconf import OmegaConf
from sklearn.metrics import classification_report, confusion_matrix
from torch import Tensor

from mnist_gen import plots
from mnist_gen.data.few_labels import FewLabels
from mnist_gen.data.mnist import CHUNK, NUM_CLASSES, to_images
from mnist_gen.errors import UserError
from mnist_gen.runs.tensorboard import epochs_done, run_folder, tensorboard
from mnist_gen.system import files
from mnist_gen.training.trainer import data_of

Report = dict[
    str, Any
]  # scikit-learn's: {"0": {"precision": ..., "recall": ..., "f1-score": ..., "support": ...}, ...}
COLUMNS = ("precision", "recall", "f1")
WIDTH = len("weighted average") + 2  # of a table's first column


def published(name: str | None) -> Mapping[str, Mapping[str, Any]]:
    """What the student report says of a classifier, `linear_frozen` and so on, on `train` and `test` images.

    Raises:
        UserError: it has no such row.
    """
    if name is None:
        return {}
    rows = OmegaConf.to_container(OmegaConf.create((resources("mnist_gen.transfer") / "published.yaml").read_text()))
    assert isinstance(rows, dict)
    if name not in rows["test"]:
        raise UserError(f"callbacks.recognition.reported={name}: choose one of {', '.join(rows['test'])}, or null.")
    return {"train": rows["train"], "test": rows["test"][name]}


def per_digit(labels: Tensor, digits: Tensor) -> Report:
    """scikit-learn's classification report: each digit, accuracy, macro and weighted averages."""
    known = range(NUM_CLASSES)
    return classification_report(labels.tolist(), digits.tolist(), labels=known, output_dict=True, zero_division=0)


class Reader(Protocol):
    """A module that reads digits: one classifier for each draw of labels."""

    history: dict[str, list[list[float]]]  # a row an epoch, a column a draw

    @property
    def best_epoch(self) -> Tensor:
        """The epoch (D,) from which each classifier is."""

    @property
    def device(self) -> torch.device:
        """Where it lies."""

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (D, N, 10) of images (N, 1, 32, 32) in [0, 1]."""


class Recognition(Callback):
    """Measures the kept classifiers on the labels they learnt from and on the test images; writes and draws it.

    Logs `test/*` and `train/*`: means over the draws, of accuracy also the deviation and the worst. Leaves report.txt,
    draws.json (each draw's figures and curves) and figures.

    Args:
        reported: the row of the student report to compare with, or None.
    """

    def __init__(self, reported: str | None) -> None:
        self.reported = published(reported)
        self.draws: dict[str, Any] = {}
        self.digits: dict[str, tuple[Tensor, Tensor]] = {}  # of each split the labels and what was read, pooled

    @torch.no_grad()
    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Reads all images and logs the figures."""
        data, reader = data_of(trainer, FewLabels), cast(Reader, pl_module)
        test, learnt = data.test, data.labelled
        read = _read(reader, test.images)  # (D, test images)
        known = torch.stack([_read(reader, images)[draw] for draw, images in enumerate(learnt.images)])
        labels = test.labels.to(read.device).expand_as(read)
        self.digits = {"test": (labels.flatten(), read.flatten()), "train": (learnt.labels.flatten(), known.flatten())}
        reports = [per_digit(truth, digits) for truth, digits in zip(labels, read, strict=True)]
        accuracies = torch.tensor([report["accuracy"] for report in reports])
        f1 = torch.tensor([[report[str(digit)]["f1-score"] for digit in range(NUM_CLASSES)] for report in reports])
        self.draws = {
            "seeds": data.seeds,
            "accuracy": accuracies.tolist(),
            "f1": f1.tolist(),
            "train_accuracy": (known == learnt.labels.to(known.device)).float().mean(dim=1).tolist(),
            "best_epoch": reader.best_epoch.tolist(),
            "history": reader.history,
        }
        metrics = {"test/accuracy": accuracies.mean(), "test/f1_macro": f1.mean()}
        if len(accuracies) > 1:
            metrics |= {"test/accuracy_std": accuracies.std(), "test/accuracy_worst": accuracies.min()}
        metrics["train/accuracy"] = torch.tensor(self.draws["train_accuracy"]).mean()
        metrics["test/kept_epoch"] = reader.best_epoch.float().mean()
        metrics |= {f"test/f1_{digit}": value for digit, value in enumerate(f1.mean(dim=0))}
        pl_module.log_dict(metrics, logger=False)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes, draws and prints."""
        if not trainer.is_global_zero:
            return
        folder, writer, epoch = run_folder(trainer), tensorboard(trainer), epochs_done(trainer)
        texts = {
            split: table(f"{split} images", per_digit(*pair), self.reported.get(split))
            for split, pair in self.digits.items()
        }
        files.write(folder / "report.txt", "\n".join(texts.values()))
        files.write(folder / "draws.json", json.dumps(self.draws, indent=1))
        print("\n" + "\n".join(texts.values()))
        watched = "validation images" if data_of(trainer, FewLabels).watched else "test images"
        for name, picture in self._pictures(watched).items():
            plots.save(picture, folder / "figures" / f"{name}.png")
            if writer:
                writer.add_figure(name, picture, epoch)
        if writer:
            for split, text in texts.items():
                writer.add_text(f"report/{split}", "\n".join(f"    {line}" for line in text.splitlines()), epoch)

    def _pictures(self, watched: str) -> dict[str, plots.Figure]:
        counts = confusion_matrix(*(digits.tolist() for digits in self.digits["test"]), labels=range(NUM_CLASSES))
        pictures = {"confusion": plots.confusion(counts, "Test images: digit and what is read, in % of the digit")}
        groups = {"learnt": "labelled images", "held_out": "labelled, left out", "val": watched}
        for name in ("loss", "accuracy"):
            curves = {
                label: [sum(row) / len(row) for row in self.draws["history"][f"{group}/{name}"]]
                for group, label in groups.items()
                if f"{group}/{name}" in self.draws["history"]
            }
            if curves:
                epochs = range(1, 1 + len(next(iter(curves.values()))))
                title = f"{name.capitalize()} over the epochs" + (", mean of draws" * (len(self.draws["seeds"]) > 1))
                pictures[name] = plots.curves(epochs, curves, title, name)
        return pictures


def table(title: str, ours: Report, reported: Mapping[str, Any] | None) -> str:
    """The per-digit figures in columns, and the report's beside them."""
    head = f"{title:<{WIDTH}}" + "".join(f"{name:>10}" for name in (*COLUMNS, "support"))
    lines = [head + ("   report:" + "".join(f"{name:>10}" for name in COLUMNS) if reported else "")]
    rows: dict[str, tuple[Any, int | str]] = {str(digit): (ours[str(digit)], digit) for digit in range(NUM_CLASSES)}
    rows |= {f"{kind} average": (ours[f"{kind} avg"], kind) for kind in ("macro", "weighted")}
    for name, (row, key) in rows.items():
        line = f"{name:<{WIDTH}}" + "".join(f"{row[column]:>10.2f}" for column in ("precision", "recall", "f1-score"))
        line += f"{row['support']:>10.0f}"
        if reported:
            values = [reported[c][key] if isinstance(key, int) else reported[key][c] for c in COLUMNS]
            line += " " * 10 + "".join(f"{value:>10.2f}" for value in values)
        lines.append(line)
    lines.append(
        f"{'accuracy':<{WIDTH + 20}}{ours['accuracy']:>10.4f}" + (f"{reported['accuracy']:>50.4f}" if reported else "")
    )
    return "\n".join(lines) + "\n"


def _read(reader: Reader, images: Tensor) -> Tensor:
    """The digits (D, N) that each draw's classifier reads in raw images (N, 28, 28)."""
    chunks = (to_images(chunk).to(reader.device) for chunk in images.split(CHUNK))
    return torch.cat([reader(chunk).argmax(dim=2) for chunk in chunks], dim=1)
