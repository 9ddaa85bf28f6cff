"""Metrics of classifiers per digit, per draw of labels and per epoch, beside the student report's numbers."""

import json
from collections.abc import Mapping
from importlib.resources import files as resources
from textwrap import indent
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from omegaconf import OmegaConf
from sklearn.metrics import classification_report, confusion_matrix
from torch import Tensor

from mnist_gen.data import NUM_CLASSES
from mnist_gen.data.few_labels import FewLabels
from mnist_gen.data.mnist import chunks, to_images
from mnist_gen.errors import check_choice
from mnist_gen.runs import plots
from mnist_gen.runs.loggers import batches_done, run_folder, tensorboard
from mnist_gen.system import files
from mnist_gen.training.pictures import keep
from mnist_gen.training.trainer import data_of
from mnist_gen.transfer.semi import SemiSupervised
from mnist_gen.transfer.transfer import Transfer

ClassificationReport = dict[str, Any]  # scikit-learn's: {"0": {"precision": 0.9, ...}, ..., "accuracy": 0.9}
DIGITS = range(NUM_CLASSES)
COLUMNS = {"precision": "precision", "recall": "recall", "f1": "f1-score"}  # published.yaml's names -> scikit-learn's
WIDTHS = dict(zip(COLUMNS, (10, 7, 5), strict=True))
FIRST, SUPPORT, REPORTED = 14, 9, 11  # widths of a table's other columns


def published(name: str | None) -> Mapping[str, Mapping[str, Any]]:
    """The student report's numbers for a classifier such as `linear_frozen`, on its `train` and `test` images."""
    if name is None:
        return {}
    text = (resources("mnist_gen.transfer") / "published.yaml").read_text()
    reports: Any = OmegaConf.to_container(OmegaConf.create(text))
    check_choice("callbacks.metrics.reported", name, [*reports["test"]])
    return {"train": reports["train"], "test": reports["test"][name]}


def classification(labels: Tensor, predictions: Tensor) -> ClassificationReport:
    """scikit-learn's classification report: each digit, accuracy, macro and weighted averages."""
    options = {"labels": DIGITS, "output_dict": True, "zero_division": 0}
    return classification_report(labels.tolist(), predictions.tolist(), **options)


class MeasureDigits(Callback):
    """Measures the kept classifiers on the test images and on their labelled images.

    Logs `test/*` and `train/*` as means over the draws; for accuracy also the standard deviation and the worst draw.
    Writes report.txt, draws.json (metrics and curves of each draw) and figures.
    `reported` names the student report's classifier to compare with.
    """

    def __init__(self, reported: str | None) -> None:
        self.reported = published(reported)
        self.draws: dict[str, Any] = {}
        self.digits: dict[str, tuple[Tensor, Tensor]] = {}  # split -> labels and predictions of all draws

    @torch.no_grad()
    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        data, model = data_of(trainer, FewLabels), pl_module
        assert isinstance(model, Transfer | SemiSupervised)
        test, labelled = data.test, data.labelled
        predicted = _predict(model, test.images)  # (D, test images)
        labels = test.labels.to(predicted.device).expand_as(predicted)
        recalled = torch.stack([_predict(model, images)[draw] for draw, images in enumerate(labelled.images)])  # (D, N)
        self.digits["test"] = labels.flatten(), predicted.flatten()
        self.digits["train"] = labelled.labels.flatten(), recalled.flatten()
        reports = [classification(*draw) for draw in zip(labels, predicted, strict=True)]
        accuracies = torch.tensor([report["accuracy"] for report in reports])
        f1 = torch.tensor([[report[str(digit)]["f1-score"] for digit in DIGITS] for report in reports])
        train_accuracies = (recalled == labelled.labels.to(recalled.device)).float().mean(dim=1)
        self.draws = {
            "seeds": data.seeds,
            "accuracy": accuracies.tolist(),
            "f1": f1.tolist(),
            "train_accuracy": train_accuracies.tolist(),
            "best_epoch": model.best_epoch.tolist(),
            "history": model.history,
        }
        metrics = {"test/accuracy": accuracies.mean(), "test/f1_macro": f1.mean()}
        if len(accuracies) > 1:
            metrics |= {"test/accuracy_std": accuracies.std(), "test/accuracy_worst": accuracies.min()}
        metrics["train/accuracy"] = train_accuracies.cpu().mean()
        metrics["test/kept_epoch"] = model.best_epoch.float().mean()
        metrics |= {f"test/f1_{digit}": value for digit, value in enumerate(f1.mean(dim=0))}
        pl_module.log_dict(metrics, logger=False)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        folder, writer, step = run_folder(trainer), tensorboard(trainer), batches_done(trainer)
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
            keep(trainer, figure, name)
        for split, text in tables.items() if writer else ():
            writer.add_text(f"report/{split}", indent(text, "    "), step)

    def _figures(self, watched: str) -> dict[str, plots.Figure]:
        counts = confusion_matrix(*(digits.tolist() for digits in self.digits["test"]), labels=DIGITS)
        figures = {"confusion": plots.confusion(counts, "Digits read in test images, in % of each digit")}
        groups = {"learnt": "labelled images", "held_out": "labelled images left out", "val": watched}
        history, several = self.draws["history"], len(self.draws["seeds"]) > 1
        for name in ("loss", "accuracy") if history else ():
            found = {label: history.get(f"{group}/{name}", ()) for group, label in groups.items()}
            curves = {label: [sum(row) / len(row) for row in rows] for label, rows in found.items() if rows}
            title = f"{name.capitalize()} over the epochs" + ", mean of draws" * several
            figures[name] = plots.curves(range(1, 1 + len(curves[watched])), curves, title, name)
        return figures


def table(title: str, ours: ClassificationReport, reported: Mapping[str, Any] | None) -> str:
    """A classification report in columns, with the student report's numbers on the right."""
    head = "".join(f"{name:>{width}}" for name, width in WIDTHS.items())
    lines = [f"{title:<{FIRST}}{head}{'support':>{SUPPORT}}" + (f"{'reported:':>{REPORTED}}{head}" if reported else "")]
    for key in (*DIGITS, "macro", "weighted"):
        digit = isinstance(key, int)
        name, row = (f"{key}", ours[f"{key}"]) if digit else (f"{key} mean", ours[f"{key} avg"])
        line = f"{name:<{FIRST}}" + "".join(f"{row[COLUMNS[each]]:>{width}.2f}" for each, width in WIDTHS.items())
        line += f"{row['support']:>{SUPPORT}.0f}"
        if reported:
            values = {name: reported[name][key] if digit else reported[key][name] for name in COLUMNS}
            line += " " * REPORTED + "".join(f"{values[name]:>{width}.2f}" for name, width in WIDTHS.items())
        lines.append(line)
    room = sum(WIDTHS.values())
    accuracy = f"{'accuracy':<{FIRST}}{ours['accuracy']:>{room}.4f}"
    lines.append(accuracy + (f"{reported['accuracy']:>{SUPPORT + REPORTED + room}.4f}" if reported else ""))
    return "\n".join(lines) + "\n"


def _predict(model: L.LightningModule, images: Tensor) -> Tensor:
    """Predictions (D, N) of each draw's classifier for raw images (N, 28, 28)."""
    parts = (to_images(chunk).to(model.device) for chunk in chunks(images))
    return torch.cat([model(part).argmax(dim=2) for part in parts], dim=1)
