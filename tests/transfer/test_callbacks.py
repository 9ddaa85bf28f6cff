"""Metrics per digit, beside the student report's numbers."""

import pytest
import torch

from mnist_gen.errors import UserError
from mnist_gen.transfer.callbacks import classification, published, table

ROWS = ("linear_frozen", "linear_composition", "mlp_frozen", "mlp_composition")
SUPPORT = torch.tensor([980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009])  # of the test images


@pytest.mark.parametrize("name", ROWS)
def test_published_numbers_are_consistent(name):
    row = published(name)["test"]
    recall = torch.tensor(row["recall"])
    assert (recall * SUPPORT).sum() / SUPPORT.sum() == pytest.approx(row["accuracy"], abs=0.003)
    for column in ("precision", "recall", "f1"):
        values = torch.tensor(row[column])
        assert len(values) == 10
        assert values.mean() == pytest.approx(row["macro"][column], abs=0.011)
    precision, f1 = torch.tensor(row["precision"]), torch.tensor(row["f1"])
    assert torch.allclose(2 * precision * recall / (precision + recall), f1, atol=0.015)


def test_an_unknown_classifier_is_refused():
    assert published(None) == {}
    with pytest.raises(
        UserError, match=r"^callbacks.metrics.reported=cnn: choose one of linear_frozen, .*, mlp_composition\.$"
    ):
        published("cnn")


def test_the_student_report_fits_its_labels_perfectly():
    row = published("mlp_frozen")["train"]
    assert row["precision"] == row["recall"] == row["f1"] == [1.0] * 10
    assert row["accuracy"] == 1.0


def test_the_classification_report_has_every_digit():
    labels, predictions = torch.tensor([0, 0, 1, 1, 1, 2]), torch.tensor([0, 1, 1, 1, 0, 2])
    report = classification(labels, predictions)
    assert report["accuracy"] == pytest.approx(4 / 6)
    assert report["1"] == {"precision": 2 / 3, "recall": 2 / 3, "f1-score": pytest.approx(2 / 3), "support": 3}
    assert report["9"]["support"] == 0


def test_the_table_shows_the_student_report_on_the_right():
    labels = torch.arange(10).repeat(3)
    text = table("test images", classification(labels, labels), published("linear_frozen")["test"]).splitlines()
    assert " ".join(text[0].split()) == "test images precision recall f1 support reported: precision recall f1"
    assert {len(line) for line in text} == {78}  # columns are aligned, and fit a terminal
    assert text[6].split() == ["5", "1.00", "1.00", "1.00", "3", "0.57", "0.29", "0.38"]
    assert text[11].split() == ["macro", "mean", "1.00", "1.00", "1.00", "30", "0.70", "0.70", "0.69"]
    assert text[13].split() == ["accuracy", "1.0000", "0.7095"]
    alone = table("train images", classification(labels, labels), None).splitlines()
    assert alone[6].split() == ["5", "1.00", "1.00", "1.00", "3"]


def test_a_run_prints_and_writes_both_tables(fit, tmp_path, capsys):
    words = ["experiment=student_report/transfer_linear_scratch", "trainer.max_epochs=2", "data.watched=30"]
    fit(tmp_path / "run", *words, tiny=False)
    printed = capsys.readouterr().out
    tables = (tmp_path / "run/report.txt").read_text().split("\n\n")
    for text, support in zip(tables, ([10] * 10, [5] * 10), strict=True):
        assert [int(line.split()[4]) for line in text.splitlines()[1:11]] == support
        assert text.strip() in printed
    assert tables[1].split("accuracy")[1].split()[1] == "1.0000"  # the student report's
