"""Claims on GANs, judged by jobs with known results."""

from pathlib import Path

import pytest

from mnist_gen.evaluation.verdicts import FAILS, HOLDS, NOISE
from mnist_gen.gan import claims as gan_claims


def gan_job(label="onehot", concat="before", activation="relu", seed=0, accuracy=0.5, fid=10.0, losses=(1.0, 0.5, 2.0),
            recipe="BCE", epochs=3, last="sigmoid", right=(0, 1, 3), coverage=0.5):  # fmt: skip
    """A GAN whose validation FID falls from 3 to 1. Its discriminator loss is the negative generator loss."""
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
        unlabelled = {name: curve for name, curve in history.items() if "class_accuracy" not in name}
        return gan_claims.GANJob(Path(), config, {"test/fid": fid}, unlabelled)
    return gan_claims.GANJob(Path(), config, metrics, history)


def gan_verdicts(*jobs) -> dict[str, tuple[str, str]]:
    return {verdict.claim: (verdict.verdict, verdict.evidence) for verdict in gan_claims.judge(jobs)}


def test_compared_gans_differ_in_one_setting_only():
    jobs = [gan_job("embedding 20", seed=seed, accuracy=0.8 + seed / 100, fid=5 + seed) for seed in (0, 1, 2)]
    jobs += [gan_job("onehot", seed=seed, accuracy=0.7, fid=9) for seed in (0, 1, 2, 3)]
    jobs += [gan_job("onehot", concat="after", accuracy=0.6, fid=8)]
    jobs += [gan_job("embedding 65", accuracy=0.1, epochs=50)]  # longer than the others
    found = gan_verdicts(*jobs)
    verdict, evidence = found["BCE: embedding 20 gives better images than one-hot"]
    assert verdict == HOLDS
    assert evidence == "+11.0 ± 0.6 points of class accuracy, 3 of 3 pairs; -3.00 ± 0.58 FID, 3 of 3 pairs"
    assert found["BCE: joining the label before the decoder beats joining it after"] == (
        NOISE,
        "+10.0 points of class accuracy in one of the pairs; +1.00 FID in one of the pairs",
    )
    assert "BCE: embedding 65 gives better images than one-hot" not in found


def test_metrics_that_disagree_make_the_verdict_depend():
    jobs = [gan_job("embedding 20", seed=seed, accuracy=0.8, fid=9 + seed / 10) for seed in (0, 1, 2)]
    jobs += [gan_job("onehot", seed=seed, accuracy=0.7 + seed / 100, fid=5) for seed in (0, 1, 2)]
    assert gan_verdicts(*jobs)["BCE: embedding 20 gives better images than one-hot"][0] == "depends"


def test_losses_against_image_quality_over_epochs():
    telling = [gan_job(seed=seed, losses=(3.0 + seed, 2.0 + seed, 1.0)) for seed in range(3)]
    found = gan_verdicts(*telling)
    assert found["BCE: the epoch with the lowest generator loss has the best FID"] == (HOLDS, "in 3 of 3 runs")
    claim = "BCE: the generator's loss tracks image quality (FID), over the epochs of a run"
    assert found[claim] == (HOLDS, "rank correlation +1.00 (median of 3 runs, 3 of them with this sign)")
    assert "BCE: the generator's loss tracks image quality (FID), over variants" not in found  # their FID is one
    assert gan_claims.rank_correlations(telling[:1], "train/loss_d", "val/fid") == pytest.approx([-1])
    assert gan_claims.rank_correlations([gan_job(losses=(1.0, 1.0, 1.0))], "train/loss_g", "val/fid") == []
    assert gan_verdicts(gan_job())["BCE: the epoch with the lowest generator loss has the best FID"][0] == FAILS
    torn = [*telling, gan_job(seed=3, losses=(1.0, 2.0, 3.0))]
    assert gan_verdicts(*torn)[claim][0] == FAILS


def test_losses_against_image_quality_over_variants():
    jobs = [gan_job(seed=seed, losses=(1.0, 1.0, float(seed))) for seed in range(5)]
    for seed, job in enumerate(jobs):
        job.history["val/fid"][3] = 1.0 + seed
    verdict, evidence = gan_verdicts(*jobs)["BCE: the generator's loss tracks image quality (FID), over variants"]
    assert (verdict, evidence) == (HOLDS, "rank correlation +1.00 (p = 1.4e-24) at the end of 5 runs")
    assert gan_claims.common_values(jobs[2], "train/loss_g", "val/fid") == ([1.0, 1.0, 2.0], [3.0, 2.0, 3.0])


def test_unconditional_gans_count_for_claims_without_labels():
    jobs = [gan_job("no labels", last=last, fid=fid, seed=seed) for seed in range(3)
            for last, fid in (("sigmoid", 5.0 + seed / 10), ("conv_tanh", 4.0))]  # fmt: skip
    found = gan_verdicts(*jobs)
    assert found["BCE, without labels: a final convolution with tanh brings no improvement"][0] == FAILS
    assert "BCE, without labels: the generator's loss tracks image quality (FID), over the epochs of a run" in found
    assert not any("class accuracy" in claim or "one-hot" in claim or "digit" in claim for claim in found)
    one_pair = gan_verdicts(*jobs[:2])
    assert one_pair["BCE, without labels: a final convolution with tanh brings no improvement"][0] == NOISE


def test_leaky_relu_and_sharpness():
    jobs = [gan_job(activation=name, seed=seed) for name in ("relu", "leaky_relu") for seed in range(3)]
    verdict, evidence = gan_verdicts(*jobs)["BCE: LeakyReLU in the discriminator gives sharper images"]
    assert (verdict, evidence) == (HOLDS, "+9.0 ± 0.6 points of real images' sharpness, 3 of 3 pairs")


def test_a_comparison_of_collapsed_gans_says_so():
    jobs = [gan_job(label, seed=seed, accuracy=0.2, fid=90 - 9 * (label != "onehot"), coverage=0.001 * seed)
            for label in ("onehot", "embedding 20") for seed in range(3)]  # fmt: skip
    claim = "BCE: embedding 20 gives better images than one-hot"
    assert gan_verdicts(*jobs)[claim][1].endswith("; all runs collapsed, coverage at most 0.00")
    assert "collapsed" not in gan_verdicts(*jobs[:5], gan_job("embedding 20", seed=2))[claim][1]


def test_which_digits_are_correct():
    jobs = [gan_job("embedding 20"), gan_job("embedding 20", activation="leaky_relu", right=(3, 5))]
    found = gan_verdicts(*jobs, gan_job("onehot", right=()))
    assert found["BCE: only the digits 0, 1 and 3 are correct"][0] == HOLDS
    assert found["BCE: with LeakyReLU only the digit 3 is correct"][0] == FAILS
    assert "3: 95%, 4: 20%, 5: 95%" in found["BCE: with LeakyReLU only the digit 3 is correct"][1]


def test_adversarial_losses_are_judged_separately():
    found = gan_verdicts(gan_job(), gan_job("embedding 20", recipe="Relativistic"))
    assert "BCE: embedding 20 gives better images than one-hot" not in found


def test_gans_are_read_from_a_sweep_and_judged(fit, tmp_path, capsys):
    for name, words in {"onehot": ["model.label=onehot"], "plain": [], "plane": ["model.concat=after"]}.items():
        fit(tmp_path / f"sweep/{name}", "experiment=cgan_embed20", *words)
    fit(tmp_path / "sweep/none", "experiment=gan_plain", "trainer.max_epochs=1")
    clusters = (
        "model/pseudo_labels=clusters_of_pixels",
        "model.pseudo_labels.count=4",
        "model.pseudo_labels.landmarks=8",
        "model.label=embedding",
    )
    for concat in ("before", "after"):
        words = [*clusters, f"model.concat={concat}", "trainer.max_epochs=1"]
        fit(tmp_path / f"sweep/clusters_{concat}", "experiment=gan_plain", *words)
    jobs = gan_claims.read([str(tmp_path / "sweep")])
    assert [(job.setting[gan_claims.LABEL], job.setting[gan_claims.CONCAT]) for job in jobs] == [
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
