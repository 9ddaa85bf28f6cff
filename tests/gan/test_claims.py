"""The report's claims against handmade draws and GANs."""

import json
from pathlib import Path

import pytest

from mnist_gen.errors import UserError
from mnist_gen.evaluation.verdicts import FAILS, HOLDS, NOISE, apart, difference, markdown
from mnist_gen.gan import claims as gan_claims
from mnist_gen.transfer.claims import Job, judge, read


def job(head, arm, accuracy, dropout=0.5, losses=None, accuracies=None, f1=None) -> Job:
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
    return Job(head, arm, dropout if head == "mlp" else 0.0, 50, draws)


def verdicts(*jobs) -> dict[str, str]:
    return {verdict.claim: verdict.verdict for verdict in judge(jobs)}


@pytest.mark.parametrize(
    ("left", "right", "verdict"),
    [
        ([0.72, 0.73, 0.71], [0.62, 0.63, 0.60], HOLDS),
        ([0.62, 0.63, 0.60], [0.72, 0.73, 0.71], FAILS),
        ([0.72, 0.60, 0.71], [0.62, 0.71, 0.70], NOISE),
        ([0.72, 0.76], [0.62, 0.63], NOISE),  # seven standard errors are not enough with two pairs
        ([0.9], [0.1], NOISE),  # one draw proves nothing
    ],
)
def test_a_difference_counts_outside_its_confidence_interval(left, right, verdict):
    assert difference(left, right)[0] == verdict


def test_a_difference_gives_its_figures():
    figures = difference([0.5, 0.6, 0.7], [0.4, 0.4, 0.8])[1]
    assert figures == "+6.7 ± 8.8 points, 2 of 3 draws"


@pytest.mark.parametrize(
    ("left", "right", "verdict"),
    [([1.0, 1.0, 0.9], [0.1, 0.2], HOLDS), ([0.1, 0.2], [1.0, 1.0, 0.9], FAILS), ([1, 0, 1], [0, 1], NOISE)],
)
def test_values_without_pairs(left, right, verdict):
    assert apart(left, right)[0] == verdict


def test_values_without_pairs_that_never_change():
    assert apart([1.0, 1.0], [0.5, 0.5, 0.5]) == (HOLDS, "+50.0 ± 0.0 points")


def test_why_composition_hurts():
    frozen, finetune = job("linear", "frozen", [0.70, 0.72, 0.71]), job("linear", "finetune", [0.75, 0.76, 0.76])
    found = verdicts(frozen, finetune, job("linear", "scratch", [0.60, 0.61, 0.60]))
    assert found["linear: the frozen encoder beats composition (fresh weights)"] == HOLDS
    assert found["linear: the frozen encoder beats composition (an encoder that learns too)"] == FAILS
    assert found["linear: composition is worse because the encoder moves"] == FAILS  # fresh weights cost more
    assert found["linear frozen: it overfits (train above test accuracy)"] == HOLDS


def test_composition_hurts_by_moving_where_fresh_weights_cost_less():
    arms = {"frozen": [0.80, 0.82, 0.81], "finetune": [0.70, 0.71, 0.72], "scratch": [0.69, 0.70, 0.71]}
    found = verdicts(*(job("mlp", arm, accuracies) for arm, accuracies in arms.items()))
    assert found["mlp: composition is worse because the encoder moves"] == HOLDS


def test_a_loss_that_rises_and_an_accuracy_that_is_flat():
    rising = [abs(epoch - 25) * 0.1 + 1 for epoch in range(60)]
    found = verdicts(job("linear", "scratch", [0.6, 0.6], losses=rising))
    assert found["linear scratch: loss on new images rises from epoch 25"] == HOLDS
    assert found["linear scratch: accuracy on new images is flat from epoch 40"] == HOLDS
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


def write(folder, labels, dropout):
    folder.mkdir(parents=True)
    model = {"arm": "frozen", "head": {"hidden": 64, "dropout": dropout}}
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
    assert read(folders, 200) == []


def test_a_missing_sweep_is_named(fit, tmp_path):
    with pytest.raises(UserError, match=f"sweep={tmp_path}/nowhere: no such folder"):
        fit(tmp_path, "task=claims", f"sweep=[{tmp_path},{tmp_path}/nowhere]", task="claims", tiny=False)
    with pytest.raises(UserError, match="no complete job of a transfer experiment with 50 labels, of a GAN"):
        fit(tmp_path, "task=claims", f"sweep={tmp_path}", task="claims", tiny=False)


def gan_job(label="onehot", concat="before", activation="relu", seed=0, accuracy=0.5, fid=10.0, losses=(1.0, 0.5, 2.0),
            recipe="BCE", epochs=3, last="sigmoid", right=(0, 1, 3), coverage=0.5):  # fmt: skip
    """A GAN whose validation FID falls over three epochs from 3 to 1, and whose D loss is the negative of G's."""
    kind, _, size = label.partition(" ")
    config = {
        "model": {
            "label": None if label == "no labels" else kind,
            "generator": {"last": last},
            "embedding_dim": int(size) if size.isdigit() else 20,
            "concat": concat,
            "discriminator": {"activation": activation},
            "loss": {"_target_": f"mnist_gen.training.adversarial.{recipe}"},
        },
        "seed": seed,
        "trainer": {"max_epochs": epochs, "devices": "auto"},
    }
    history = {
        "train/loss_g": dict(enumerate(losses, 1)),
        "train/loss_d": {epoch: -loss for epoch, loss in enumerate(losses, 1)},
        "val/fid": {1: 3.0, 2: 2.0, 3: 1.0},
        "val/class_accuracy": {1: 0.1, 2: 0.2, 3: 0.3},
    }
    metrics = {"test/class_accuracy": accuracy, "test/fid": fid, "test/coverage": coverage}
    metrics["test/sharpness"] = 0.9 if activation == "leaky_relu" else 0.8 + seed / 100
    metrics |= {f"test/class_accuracy_{digit}": 0.95 if digit in right else 0.2 for digit in range(10)}
    if label == "no labels":
        return gan_claims.Job(Path(), config, {"test/fid": fid}, {k: v for k, v in history.items() if "acc" not in k})
    return gan_claims.Job(Path(), config, metrics, history)


def gan_verdicts(*jobs) -> dict[str, tuple[str, str]]:
    return {verdict.claim: (verdict.verdict, verdict.figures) for verdict in gan_claims.judge(jobs)}


def test_settings_of_gans_are_compared_all_else_equal():
    jobs = [gan_job("embedding 20", seed=seed, accuracy=0.8 + seed / 100, fid=5 + seed) for seed in (0, 1, 2)]
    jobs += [gan_job("onehot", seed=seed, accuracy=0.7, fid=9) for seed in (0, 1, 2, 3)]
    jobs += [gan_job("onehot", concat="after", accuracy=0.6, fid=8)]
    jobs += [gan_job("embedding 65", accuracy=0.1, epochs=50)]  # longer than the others
    found = gan_verdicts(*jobs)
    verdict, figures = found["BCE: embedding 20 gives better images than one-hot"]
    assert verdict == HOLDS
    assert figures == "+11.0 ± 0.6 points of class accuracy, 3 of 3 pairs; -3.00 ± 0.58 FID, 3 of 3 pairs"
    assert found["BCE: before the decoder is better than after it"] == (
        NOISE,
        "+10.0 points of class accuracy in one of the pairs; +1.00 FID in one of the pairs",
    )
    assert "BCE: embedding 65 gives better images than one-hot" not in found


def test_figures_that_disagree_leave_it_open():
    jobs = [gan_job("embedding 20", seed=seed, accuracy=0.8, fid=9 + seed / 10) for seed in (0, 1, 2)]
    jobs += [gan_job("onehot", seed=seed, accuracy=0.7 + seed / 100, fid=5) for seed in (0, 1, 2)]
    assert gan_verdicts(*jobs)["BCE: embedding 20 gives better images than one-hot"][0] == "depends"


def test_what_losses_say_about_images():
    telling = [gan_job(seed=seed, losses=(3.0 + seed, 2.0 + seed, 1.0)) for seed in range(3)]
    found = gan_verdicts(*telling)
    assert found["BCE: the epoch with the lowest G loss is the best one (FID)"] == (HOLDS, "in 3 of 3 runs")
    claim = "BCE: G's loss says how good the images are (FID), over the epochs of a run"
    assert found[claim] == (HOLDS, "rank correlation +1.00 (median of 3 runs, +1.00 to +1.00)")
    assert "BCE: G's loss says how good the images are (FID), over variants" not in found  # their FID is one
    assert gan_claims.rank_correlation(telling[0], "train/loss_d", "val/fid") == pytest.approx(-1)
    assert gan_claims.rank_correlation(gan_job(losses=(1.0, 1.0, 1.0)), "train/loss_g", "val/fid") is None
    assert gan_verdicts(gan_job())["BCE: the epoch with the lowest G loss is the best one (FID)"][0] == FAILS
    torn = [*telling, gan_job(seed=3, losses=(1.0, 2.0, 3.0))]
    assert gan_verdicts(*torn)[claim][0] == FAILS


def test_what_losses_say_over_variants():
    jobs = [gan_job(seed=seed, losses=(1.0, 1.0, float(seed))) for seed in range(5)]
    for seed, job in enumerate(jobs):
        job.history["val/fid"][3] = 1.0 + seed
    verdict, figures = gan_verdicts(*jobs)["BCE: G's loss says how good the images are (FID), over variants"]
    assert (verdict, figures) == (HOLDS, "rank correlation +1.00 (p = 1.4e-24) at the end of 5 runs")
    assert gan_claims.both(jobs[2], "train/loss_g", "val/fid") == ([1.0, 1.0, 2.0], [3.0, 2.0, 3.0])


def test_a_gan_without_labels_counts_where_nothing_is_asked_of_them():
    jobs = [gan_job("no labels", last=last, fid=fid, seed=seed) for seed in range(3)
            for last, fid in (("sigmoid", 5.0 + seed / 10), ("conv_tanh", 4.0))]  # fmt: skip
    found = gan_verdicts(*jobs)
    assert found["BCE: a last convolution and tanh bring no improvement"][0] == FAILS
    assert "BCE: G's loss says how good the images are (FID), over the epochs of a run" in found
    assert not any("class accuracy" in claim or "one-hot" in claim or "digit" in claim for claim in found)
    assert (
        gan_verdicts(*jobs[:2])["BCE: a last convolution and tanh bring no improvement"][0] == NOISE
    )  # one pair is noise


def test_leaky_relu_and_sharpness():
    jobs = [gan_job(activation=name, seed=seed) for name in ("relu", "leaky_relu") for seed in range(3)]
    verdict, figures = gan_verdicts(*jobs)["BCE: LeakyReLU in the discriminator gives sharper images"]
    assert (verdict, figures) == (HOLDS, "+9.0 ± 0.6 points of real images' sharpness, 3 of 3 pairs")


def test_what_is_better_among_the_collapsed_is_said_to_be():
    jobs = [gan_job(label, seed=seed, accuracy=0.2, fid=90 - 9 * (label != "onehot"), coverage=0.001 * seed)
            for label in ("onehot", "embedding 20") for seed in range(3)]  # fmt: skip
    claim = "BCE: embedding 20 gives better images than one-hot"
    assert gan_verdicts(*jobs)[claim][1].endswith("; all are collapsed, coverage at most 0.00")
    assert "collapsed" not in gan_verdicts(*jobs[:5], gan_job("embedding 20", seed=2))[claim][1]


def test_which_digits_are_right():
    jobs = [gan_job("embedding 20"), gan_job("embedding 20", activation="leaky_relu", right=(3, 5))]
    found = gan_verdicts(*jobs, gan_job("onehot", right=()))
    assert found["BCE: of the digits 0, 1 and 3 are right"][0] == HOLDS
    assert found["BCE: with LeakyReLU no digit but 3 is clear"][0] == FAILS
    assert "3 95%, 4 20%, 5 95%" in found["BCE: with LeakyReLU no digit but 3 is clear"][1]


def test_recipes_are_judged_apart():
    found = gan_verdicts(gan_job(), gan_job("embedding 20", recipe="Relativistic"))
    assert "BCE: embedding 20 gives better images than one-hot" not in found


def test_gans_are_read_from_a_sweep_and_judged(fit, tmp_path, capsys):
    for name, words in {"onehot": ["model.label=onehot"], "plain": [], "plane": ["model.concat=after"]}.items():
        fit(tmp_path / f"sweep/{name}", "experiment=cgan_embed20", *words)
    fit(tmp_path / "sweep/none", "experiment=gan_plain", "trainer.max_epochs=1")
    clusters = (
        "model/clusters=pixels",
        "model.clusters.count=4",
        "model.clusters.landmarks=8",
        "model.label=embedding",
    )
    for concat in ("before", "after"):
        words = [*clusters, f"model.concat={concat}", "trainer.max_epochs=1"]
        fit(tmp_path / f"sweep/clusters_{concat}", "experiment=gan_plain", *words)
    jobs = gan_claims.read([str(tmp_path / "sweep")])
    assert [(job.label, job.concat) for job in jobs] == [
        ("4 clusters", "after"), ("4 clusters", "before"), ("no labels", "before"), ("onehot", "before"),
        ("embedding 20", "before"), ("embedding 20", "after")
    ]  # fmt: skip
    assert jobs[0].loss == "Relativistic"
    assert sorted(jobs[3].history["val/fid"]) == [1, 2]
    fit(tmp_path, "task=claims", f"sweep={tmp_path}/sweep", task="claims", tiny=False)
    assert "| Relativistic: embedding 20 gives better images than one-hot | noise |" in capsys.readouterr().out
    pictures = {path.name for path in (tmp_path / "sweep").glob("*.png")}
    assert pictures == {"losses_and_fid.png", "losses_and_class_accuracy.png", "before_and_after_relativistic.png",
                        "digits_relativistic.png", "samples_relativistic.png"}  # fmt: skip
