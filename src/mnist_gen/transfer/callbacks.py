"""Metrics of classifiers per digit, per draw of labels and per epoch, beside the student report's numbers."""

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
from mnist_gen.data import NUM_CLASSES
from mnist_gen.data.few_labels import FewLabels
from mnist_gen.data.mnist import CHUNK, to_images
from mnist_gen.errors import check_choice
from mnist_gen.runs.tensorboard import epochs_done, run_folder, tensorboard
from mnist_gen.system import files
from mnist_gen.training.trainer import data_of

ClassificationReport = dict[
    str, Any
]  # scikit-learn's: {"0": {"precision": ..., "f1-score": ...}, ..., "accuracy": ...}
COLUMNS = {"precision": "precision", "recall": "recall", "f1": "f1-score"}  # published.yaml's names -> scikit-learn's
WIDTH = len("weighted average") + 2  # of a table's first column


def published(name: str | None) -> Mapping[str, Mapping[str, Any]]:
    """The student report's numbers for a classifier such as `linear_frozen`, on its `train` and `test` images.

    Raises:
        UserError: the student report has no such classifier.
    """
    if name is None:
        return {}
    reports = OmegaConf.to_container(OmegaConf.create((resources("mnist_gen.transfer") / "published.yaml").read_text()))
    assert isinstance(reports, dict)
    check_choice("callbacks.metrics.reported", name, [*reports["test"]])
    return {"train": reports["train"], "test": reports["test"][name]}


def classification(labels: Tensor, predictions: Tensor) -> ClassificationReport:
    """scikit-learn's classification report: each digit, accuracy, macro and weighted averages."""
    digits = range(NUM_CLASSES)
    return classification_report(
        labels.tolist(), predictions.tolist(), labels=digits, output_dict=True, zero_division=0
    )


class DigitClassifiers(Protocol):
    """A module with one classifier for each of D draws of labels."""

    history: dict[str, list[list[float]]]  # a row per epoch, a column per draw

    @property
    def best_epoch(self) -> Tensor:
        """The epoch (D,) of each classifier's weights."""

    @property
    def device(self) -> torch.device: ...

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (D, N, 10) of images (N, 1, 32, 32) in [0, 1]."""


class MeasureDigits(Callback):
    """Measures the kept classifiers on the test images and on their labelled images.

    Logs `test/*` and `train/*` as means over the draws; for accuracy also the standard deviation and the worst draw.
    Writes report.txt, draws.json (metrics and curves of each draw) and figures.

    Args:
        reported: the student report's classifier to compare with, or None.
    """

    def __init__(self, reported: str | None) -> None:
        self.reported = published(reported)
        self.draws: dict[str, Any] = {}
        self.digits: dict[str, tuple[Tensor, Tensor]] = {}  # split -> labels and predictions of all draws

    @torch.no_grad()
    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Classifies all images and logs the metrics."""
        data, model = data_of(trainer, FewLabels), cast(DigitClassifiers, pl_module)
        test, labelled = data.test, data.labelled
        predicted = _predict(model, test.images)  # (D, test images)
        labels = test.labels.to(predicted.device).expand_as(predicted)
        recalled = torch.stack([_predict(model, images)[draw] for draw, images in enumerate(labelled.images)])  # (D, N)
        self.digits["test"] = labels.flatten(), predicted.flatten()
        self.digits["train"] = labelled.labels.flatten(), recalled.flatten()
        reports = [classification(*draw) for draw in zip(labels, predicted, strict=True)]
        accuracies = torch.tensor([report["accuracy"] for report in reports])
        f1 = torch.tensor([[report[str(digit)]["f1-score"] for digit in range(NUM_CLASSES)] for report in reports])
        self.draws = {
            "seeds": data.seeds,
            "accuracy": accuracies.tolist(),
            "f1": f1.tolist(),
            "train_accuracy": (recalled == labelled.labels.to(recalled.device)).float().mean(dim=1).tolist(),
            "best_epoch": model.best_epoch.tolist(),
            "history": model.history,
        }
        metrics = {"test/accuracy": accuracies.mean(), "test/f1_macro": f1.mean()}
        if len(accuracies) > 1:
            metrics |= {"test/accuracy_std": accuracies.std(), "test/accuracy_worst": accuracies.min()}
        metrics["train/accuracy"] = torch.tensor(self.draws["train_accuracy"]).mean()
        metrics["test/kept_epoch"] = model.best_epoch.float().mean()
        metrics |= {f"test/f1_{digit}": value for digit, value in enumerate(f1.mean(dim=0))}
        pl_module.log_dict(metrics, logger=False)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the files and figures, and prints the tables."""
        if not trainer.is_global_zero:
            return
        folder, writer, epoch = run_folder(trainer), tensorboard(trainer), epochs_done(trainer)
        tables = {
            split: table(f"{split} images", classification(*pair), self.reported.get(split))
            for split, pair in self.digits.items()
        }
        text = "\n".join(tables.values())
        files.write(folder / "report.txt", text)
        files.write(folder / "draws.json", json.dumps(self.draws, indent=1))
        print("\n" + text)
        watched = "validation images" if data_of(trainer, FewLabels).watched else "test images"
        for name, figure in self._figures(watched).items():
            plots.save(figure, folder / "figures" / f"{name}.png")
            if writer:
                writer.add_figure(name, figure, epoch)
        if writer:
            for split, text in tables.items():
                writer.add_text(f"report/{split}", "\n".join(f"    {line}" for line in text.splitlines()), epoch)

    def _figures(self, watched: str) -> dict[str, plots.Figure]:
        counts = confusion_matrix(*(digits.tolist() for digits in self.digits["test"]), labels=range(NUM_CLASSES))
        figures = {"confusion": plots.confusion(counts, "Digits read in test images, in % of each digit")}
        groups = {"learnt": "labelled images", "held_out": "labelled images left out", "val": watched}
        history, several = self.draws["history"], len(self.draws["seeds"]) > 1
        for name in ("loss", "accuracy"):
            curves = {
                label: [sum(row) / len(row) for row in history[f"{group}/{name}"]]
                for group, label in groups.items()
                if f"{group}/{name}" in history
            }
            if curves:
                epochs = range(1, 1 + len(next(iter(curves.values()))))
                title = f"{name.capitalize()} over the epochs" + ", mean of draws" * several
                figures[name] = plots.curves(epochs, curves, title, name)
        return figures


def table(title: str, ours: ClassificationReport, reported: Mapping[str, Any] | None) -> str:
    """A classification report in columns, with the student report's numbers on the right."""
    head = f"{title:<{WIDTH}}" + "".join(f"{name:>10}" for name in (*COLUMNS, "support"))
    lines = [head + (" reported:" + "".join(f"{name:>10}" for name in COLUMNS) if reported else "")]
    for key in (*range(NUM_CLASSES), "macro", "weighted"):
        digit = isinstance(key, int)
        name, row = (f"{key}", ours[f"{key}"]) if digit else (f"{key} average", ours[f"{key} avg"])
        line = f"{name:<{WIDTH}}" + "".join(f"{row[column]:>10.2f}" for column in COLUMNS.values())
        line += f"{row['support']:>10.0f}"
        if reported:
            values = [reported[column][key] if digit else reported[key][column] for column in COLUMNS]
            line += " " * 10 + "".join(f"{value:>10.2f}" for value in values)
        lines.append(line)
    accuracy = f"{'accuracy':<{WIDTH + 20}}{ours['accuracy']:>10.4f}"
    lines.append(accuracy + (f"{reported['accuracy']:>50.4f}" if reported else ""))
    return "\n".join(lines) + "\n"


def _predict(model: DigitClassifiers, images: Tensor) -> Tensor:
    """Predictions (D, N) of each draw's classifier for raw images (N, 28, 28)."""
    chunks = (to_images(chunk).to(model.device) for chunk in images.split(CHUNK))
    return torch.cat([model(chunk).argmax(dim=2) for chunk in chunks], dim=1)
