"""Whole runs of translators: their files, their scorers, resumption, and figures of several runs."""

import logging
import re

import pytest
import torch
from hydra.utils import instantiate

from mnist_gen.errors import UserError
from mnist_gen.runs import checkpoint
from mnist_gen.translation import Translation, jobs
from mnist_gen.translation.claim_plots import pictures
from tests.conftest import composed, events, recorded
from tests.translation.conftest import TINY_RUN

BECOMES = [f"becomes_{digit}" for digit in range(10)]


@pytest.fixture
def scorer(made, tmp_path):
    """A checkpoint of a scorer of class B."""
    words = ["experiment=scorer_rendered", "trainer.max_epochs=1", "trainer.limit_train_batches=1"]
    words += ["data.batch_size=8", "data.eval_batch_size=50"]
    return made(tmp_path / "scorer", *words, tiny=False) / "checkpoints/best.ckpt"


@pytest.mark.parametrize("name", ["translate_l1_paired", "translate_cyclegan_unpaired"])
def test_a_run_writes_metrics_floor_and_figures(fit, tmp_path, scorer, name, caplog):
    caplog.set_level(logging.INFO)
    fit(tmp_path / "run", f"experiment={name}", f"target_scorer.ckpt={scorer}", *TINY_RUN, tiny=False)
    metrics = recorded(tmp_path / "run")["metrics"]
    assert {"fid", "correspondence", "l1", "ssim", "retrieval", *BECOMES} == {
        key.removeprefix("test/") for key in metrics if key.startswith("test/")
    }
    assert all(metrics[f"test/{name}"] in range(10) for name in BECOMES)
    assert metrics["floor/l1"] == 0
    assert metrics["floor/fid"] > 0  # against other images of B
    assert re.search(
        r"^l1 +\d\.\d{4} +0\.0000$", "\n".join(record.getMessage() for record in caplog.records), flags=re.MULTILINE
    )
    log = events(tmp_path / "run")
    assert "pictures/translation" in log.Tags()["images"]
    hparams = log.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert all(word in hparams for word in (b"pairing", b"rendering", b"Outline", b"rendering.width"))
    assert b"root" not in hparams
    assert (tmp_path / "run/figures/translation.png").exists()
    assert (tmp_path / "run/figures/becomes.png").exists()
    loaded = checkpoint.load(tmp_path / "run/checkpoints/last.ckpt")
    assert isinstance(loaded, Translation)
    images = torch.rand(2, 1, 32, 32)
    kept = torch.load(scorer, weights_only=True)["state_dict"]["network.head.weight"]
    assert torch.equal(loaded.scorer.head.weight, kept)
    assert loaded.translate(images).shape == images.shape


def test_translation_into_another_data_set_has_no_counterparts(fit, tmp_path):
    few = ["data.batch_size=8", "data.eval_batch_size=50", "trainer.limit_train_batches=1"]
    fit(tmp_path / "scorer", "experiment=scorer", "trainer.max_epochs=1", *few, tiny=False)
    words = ["experiment=translate_gan_unpaired", "data=fashion_pairs", "data.other=MNIST", *TINY_RUN]
    scorer = f"target_scorer.ckpt={tmp_path / 'scorer/checkpoints/best.ckpt'}"
    fit(tmp_path / "sweep/gan", *words, scorer, tiny=False)
    fit(tmp_path / "sweep/loose", *words, scorer, "data.pairing=loose", tiny=False)
    metrics = recorded(tmp_path / "sweep/gan")["metrics"]
    assert {key for key in metrics if key.startswith("test/")} - {f"test/{name}" for name in BECOMES} == {
        "test/fid",
        "test/correspondence",
    }
    fit(tmp_path, "task=claims", f"sweep={tmp_path}/sweep", task="claims", tiny=False)
    assert "| MNIST | GAN-like | loose |" in (tmp_path / "sweep/claims.md").read_text()
    assert (tmp_path / "sweep/translations_MNIST.png").exists()


def test_figures_compare_strategies_pairings_and_seeds(fit, tmp_path, scorer):
    for name, seed in (("gan_paired", 0), ("gan_paired", 1), ("gan_loose", 0)):
        words = [f"experiment=translate_{name}", f"seed={seed}", f"target_scorer.ckpt={scorer}", *TINY_RUN]
        fit(tmp_path / f"sweep/{name}_{seed}", *words, tiny=False)
    translators = jobs.read([str(tmp_path / "sweep")])
    data = instantiate(composed("experiment=gan").data, root=translators[0].config["data"]["root"], cache=tmp_path)
    data.prepare_data()
    data.setup()
    rows = {
        name: [label.get_text() for label in figure.axes[0].get_yticklabels()]
        for name, figure in pictures(translators, data).items()
    }
    assert rows == {
        "translations_outline_width_1": ["input", "GAN-like, paired", "GAN-like, loose", "truth"],
        "seeds_outline_width_1_paired": ["input", "seed 0", "seed 1", "truth"],
    }
    assert pictures(translators[:1], data) == {}


@pytest.mark.parametrize(("name", "stop"), [("cgan_loose", 3), ("cyclegan_unpaired", 5)])  # two optimizers per batch
def test_a_resumed_run_ends_with_the_same_weights(fit, tmp_path, scorer, interrupted, name, stop):
    words = [f"experiment=translate_{name}", f"target_scorer.ckpt={scorer}", *TINY_RUN]
    fit(tmp_path / "whole", *words, tiny=False)
    with interrupted(Translation, stop):
        fit(tmp_path / "parts", *words, tiny=False)
    fit(tmp_path / "parts", f"ckpt={tmp_path / 'parts/checkpoints/last.ckpt'}", tiny=False)
    ends = [checkpoint.load(tmp_path / part / "checkpoints/last.ckpt").state_dict() for part in ("whole", "parts")]
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_a_checkpoint_of_another_model_is_refused_as_scorer(fit, tmp_path, scorer):
    words = f"target_scorer.ckpt={scorer}", *TINY_RUN
    fit(tmp_path / "translation", "experiment=translate_gan_paired", *words, tiny=False)
    wrong = tmp_path / "translation/checkpoints/last.ckpt"
    with pytest.raises(UserError, match="is a Translation, not a Classifier: name one made by experiment=scorer_rend"):
        fit(tmp_path / "run", "experiment=translate_gan_paired", f"target_scorer.ckpt={wrong}", *TINY_RUN, tiny=False)


def test_a_scorer_of_other_images_is_refused(fit, tmp_path, scorer):
    words = ["experiment=translate_gan_paired", f"target_scorer.ckpt={scorer}", *TINY_RUN]
    message = "for dataset=MNIST, rendering._target_=mnist_gen.data.renderings.Outline, .*"
    message += "need a mnist_gen.networks.classifiers.Scorer for "
    with pytest.raises(UserError, match=message + "dataset=MNIST, rendering._target_=mnist_gen.data.renderings.Mosaic"):
        fit(tmp_path / "run", *words, "data/rendering=mosaic", tiny=False)
    with pytest.raises(
        UserError, match="experiment=transformer_classifier is a mnist_gen.networks.transformer.ReadTransformer"
    ):
        fit(tmp_path / "run", *TINY_RUN, words[0], "target_scorer.experiment=transformer_classifier", tiny=False)


def test_a_translation_without_a_scorer_is_refused(fit, tmp_path):
    with pytest.raises(
        UserError, match=r"^the model starts from a target_scorer: choose an experiment that has one\.$"
    ):
        fit(tmp_path, "experiment=scorer", "model=translation", tiny=False)
