"""How well digits are read, beside the report's figures."""

import pytest
import torch

from mnist_gen.errors import UserError
from mnist_gen.transfer.callbacks import per_digit, published, table

ROWS = ("linear_frozen", "linear_composition", "mlp_frozen", "mlp_composition")
SUPPORT = torch.tensor([980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009])  # of the test images


@pytest.mark.parametrize("name", ROWS)
def test_the_reports_figures_agree_with_each_other(name):
    row = published(name)["test"]
    recall = torch.tensor(row["recall"])
    assert (recall * SUPPORT).sum() / SUPPORT.sum() == pytest.approx(row["accuracy"], abs=0.003)
    for column in ("precision", "recall", "f1"):
        values = torch.tensor(row[column])
        assert len(values) == 10
        assert values.mean() == pytest.approx(row["macro"][column], abs=0.011)
    precision, f1 = torch.tensor(row["precision"]), torch.tensor(row["f1"])
    assert torch.allclose(2 * precision * recall / (precision + recall), f1, atol=0.015)


def test_a_row_that_is_not_there():
    assert published(None) == {}
    with pytest.raises(UserError, match="reported=cnn: choose one of linear_frozen, .*, or null"):
        published("cnn")


def test_the_report_reads_all_that_it_learnt_from():
    row = published("mlp_frozen")["train"]
    assert row["precision"] == row["recall"] == row["f1"] == [1.0] * 10
    assert row["accuracy"] == 1.0


def test_per_digit_counts_every_digit():
    labels, digits = torch.tensor([0, 0, 1, 1, 1, 2]), torch.tensor([0, 1, 1, 1, 0, 2])
    report = per_digit(labels, digits)
    assert report["accuracy"] == pytest.approx(4 / 6)
    assert report["1"] == {"precision": 2 / 3, "recall": 2 / 3, "f1-score": pytest.approx(2 / 3), "support": 3}
    assert report["9"]["support"] == 0


def test_the_table_puts_the_report_beside():
    labels = torch.arange(10).repeat(3)
    text = table("test images", per_digit(labels, labels), published("linear_frozen")["test"]).splitlines()
    assert text[0].split() == [
        "test",
        "images",
        "precision",
        "recall",
        "f1",
        "support",
        "report:",
        "precision",
        "recall",
        "f1",
    ]
    assert len({len(line) for line in text}) == 1  # columns stand under each other
    assert text[6].split() == ["5", "1.00", "1.00", "1.00", "3", "0.57", "0.29", "0.38"]
    assert text[11].split() == ["macro", "average", "1.00", "1.00", "1.00", "30", "0.70", "0.70", "0.69"]
    assert text[13].split() == ["accuracy", "1.0000", "0.7095"]
    alone = table("train images", per_digit(labels, labels), None).splitlines()
    assert alone[6].split() == ["5", "1.00", "1.00", "1.00", "3"]


def test_a_run_tables_test_and_train(fit, tmp_path, capsys):
    words = ["experiment=report/transfer_linear_scratch", "trainer.max_epochs=2", "data.watched=30"]
    fit(tmp_path / "run", *words, tiny=False)
    said = capsys.readouterr().out
    tables = (tmp_path / "run/report.txt").read_text().split("\n\n")
    for text, support in zip(tables, ([10] * 10, [5] * 10), strict=True):
        assert [int(line.split()[4]) for line in text.splitlines()[1:11]] == support
        assert text.strip() in said
    assert tables[1].split("accuracy")[1].split()[1] == "1.0000"  # the report's
