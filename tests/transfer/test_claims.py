"""Claims on transfer learning, judged by jobs with known results."""

import json

import pytest

from mnist_gen.errors import UserError
from mnist_gen.evaluation.verdicts import DEPENDS, FAILS, HOLDS, NOISE, markdown
from mnist_gen.transfer.claim_plots import pictures
from mnist_gen.transfer.claims import Job, judge, read


def job(head, arm, accuracy, dropout=0.5, losses=None, accuracies=None, f1=None, patience=300) -> Job:
    count = len(accuracy)
    f1 = f1 or [0.9, 0.95, 0.8, 0.8, 0.8, 0.3, 0.8, 0.8, 0.8, 0.8]
    losses = losses or [1.0 - 0.001 * epoch for epoch in range(60)]
    accuracies = accuracies or [0.5] * 60
    draws = {
        "accuracy": accuracy,
        "train_accuracy": [1.0] * count,
        "f1": [f1] * count,
        "history": {
            "val/loss": [[loss] * count for loss in losses],
            "val/accuracy": [[share] * count for share in accuracies],
        },
    }
    return Job(head, arm, dropout if head == "mlp" else 0.0, patience, draws)


def verdicts(*jobs) -> dict[str, str]:
    return {verdict.claim: verdict.verdict for verdict in judge(jobs)}


def test_why_composition_hurts():
    frozen, finetune = job("linear", "frozen", [0.70, 0.72, 0.71]), job("linear", "finetune", [0.75, 0.76, 0.76])
    found = verdicts(frozen, finetune, job("linear", "scratch", [0.60, 0.61, 0.60]))
    assert found["linear: the frozen encoder beats composition (an encoder from random weights)"] == HOLDS
    assert found["linear: the frozen encoder beats composition (a finetuned encoder)"] == FAILS
    assert found["linear: composition is worse because the encoder moves"] == FAILS  # random weights lose more
    assert found["linear frozen: it overfits (train above test accuracy)"] == HOLDS


def test_early_stopping_can_decide_which_encoder_wins():
    frozen = job("linear", "frozen", [0.70, 0.72, 0.71], accuracies=[0.5] * 60)
    stopped_too_early = job("linear", "finetune", [0.60, 0.61, 0.62], accuracies=[0.4] * 59 + [0.8])
    found = verdicts(frozen, stopped_too_early)
    claim = "linear: the frozen encoder beats composition (a finetuned encoder)"
    assert found[claim] == HOLDS
    assert found[f"{claim}, without early stopping"] == FAILS
    shortened = job("linear", "finetune", [0.60, 0.61, 0.62], accuracies=[0.4] * 59 + [0.8], patience=20)
    found = verdicts(frozen, shortened)
    assert found[claim] == HOLDS
    assert f"{claim}, without early stopping" not in found
    assert "linear finetune: early stopping helps" not in found


def test_composition_hurts_by_moving_where_fresh_weights_cost_less():
    arms = {"frozen": [0.80, 0.82, 0.81], "finetune": [0.70, 0.71, 0.72], "scratch": [0.69, 0.70, 0.71]}
    found = verdicts(*(job("mlp", arm, accuracies) for arm, accuracies in arms.items()))
    assert found["mlp: composition is worse because the encoder moves"] == HOLDS


def test_a_loss_that_rises_and_an_accuracy_that_is_flat():
    rising = [abs(epoch - 25) * 0.1 + 1 for epoch in range(60)]
    found = verdicts(job("linear", "scratch", [0.6, 0.6], losses=rising))
    assert found["linear scratch: loss on new images rises from epoch 25"] == HOLDS
    assert found["linear scratch: accuracy on new images is flat from epoch 40"] == NOISE
    growing = [0.01 * epoch for epoch in range(60)]
    found = verdicts(job("linear", "scratch", [0.6, 0.61], accuracies=growing))
    assert found["linear scratch: loss on new images rises from epoch 25"] == FAILS
    assert found["linear scratch: accuracy on new images is flat from epoch 40"] == FAILS


def test_dropout_and_early_stopping():
    losses = [1.0, 0.5, *[0.6] * 58]
    accuracies = [0.1, 0.9, *[0.2] * 58]
    found = verdicts(
        job("mlp", "frozen", [0.7, 0.7], losses=losses, accuracies=accuracies),
        job("mlp", "frozen", [0.6, 0.61], dropout=0.0),
    )
    assert found["mlp frozen: dropout helps"] == HOLDS
    assert found["mlp frozen: early stopping helps"] == HOLDS


def test_early_stopping_stops_before_a_later_and_better_epoch():
    losses = [0.5, *[0.6] * 30, 0.1]
    accuracies = [0.3, *[0.2] * 30, 0.9]
    found = verdicts(job("mlp", "frozen", [0.7, 0.7], losses=losses, accuracies=accuracies))
    assert found["mlp frozen: early stopping helps"] == FAILS


def test_hardest_and_easiest_digit():
    assert verdicts(job("linear", "frozen", [0.7, 0.7]))["5 is the hardest digit"] == HOLDS
    found = verdicts(job("linear", "frozen", [0.7, 0.7], f1=[0.99, *[0.9] * 7, 0.1, 0.9]))
    assert found["5 is the hardest digit"] == FAILS
    assert found["1 is the easiest digit"] == FAILS


def test_a_digit_that_is_hardest_on_average_but_not_for_most_classifiers():
    five, two = ([0.9] * 10 for _ in range(2))
    five[5], two[2] = 0.0, 0.85
    found = verdicts(
        job("linear", "frozen", [0.7], f1=five),
        job("mlp", "frozen", [0.7], f1=two),
        job("mlp", "finetune", [0.7], f1=two),
    )
    assert found["5 is the hardest digit"] == DEPENDS


def write(folder, labels, dropout):
    folder.mkdir(parents=True)
    model = {"_target_": "mnist_gen.transfer.Transfer", "arm": "frozen", "patience": 300}
    model["head"] = {"hidden": 64, "dropout": dropout}
    record = {"config": {"model": model, "data": {"labels": labels}}, "metrics": {}}
    (folder / "metrics.json").write_text(json.dumps(record))
    (folder / "draws.json").write_text(json.dumps(job("mlp", "frozen", [0.7, 0.8]).draws))


def test_jobs_are_read_from_sweeps_and_judged(fit, tmp_path, capsys):
    write(tmp_path / "a/one", 50, 0.5)
    write(tmp_path / "a/two", 10, 0.5)
    write(tmp_path / "b/one", 50, 0.0)
    (tmp_path / "a/unfinished").mkdir()
    (tmp_path / "a/unfinished/draws.json").write_text("{}")
    folders = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert [(one.head, one.dropout) for one in read(folders, 50)] == [("mlp", 0.5), ("mlp", 0.0)]
    fit(tmp_path, "task=claims", f"sweep=[{','.join(folders)}]", task="claims", tiny=False)
    table = (tmp_path / "a/claims.md").read_text()
    assert table == markdown(judge(read(folders, 50)))
    assert table.strip() in capsys.readouterr().out
    assert (tmp_path / "a/arms_mlp.png").is_file()
    assert read(folders, 200) == []


def test_arms_are_drawn_as_means_over_draws():
    frozen = job("linear", "frozen", [0.7, 0.8], losses=[2.0, 1.0, 0.5])
    frozen.draws["history"]["val/loss"][0] = [2.0, 4.0]
    scratch = job("linear", "scratch", [0.5, 0.5], losses=[2.0, 3.0])
    figures = pictures([frozen, scratch, job("mlp", "frozen", [0.5], dropout=0.0)])
    assert list(figures) == ["arms_linear"]
    losses, accuracies = figures["arms_linear"].axes
    assert [(line.get_label(), [*line.get_ydata()]) for line in losses.lines] == [
        ("frozen", [3.0, 1.0]),
        ("scratch", [2.0, 3.0]),
    ]
    assert [len(line.get_ydata()) for line in accuracies.lines] == [2, 2]


def test_a_missing_sweep_is_named(fit, tmp_path):
    with pytest.raises(UserError, match=f"sweep={tmp_path}/nowhere: no such folder"):
        fit(tmp_path, "task=claims", f"sweep=[{tmp_path},{tmp_path}/nowhere]", task="claims", tiny=False)
    with pytest.raises(UserError, match="no complete job of a transfer experiment with 50 labels, of a GAN"):
        fit(tmp_path, "task=claims", f"sweep={tmp_path}", task="claims", tiny=False)
