"""What a run says, and its first picture."""

import json
import logging
import re

import pytest

from mnist_gen.system import screen
from mnist_gen.training import pictures, progress
from tests.autoencoder.conftest import TINY_RUN as FEW
from tests.conftest import TINY, composed, same_weights
from tests.gan.conftest import gan
from tests.training.conftest import TARGET
from tests.transfer.conftest import SEMI_RUN as SEMI
from tests.translation.conftest import TINY_RUN as PAIRS


def said(caplog):
    return [record.getMessage() for record in caplog.records if record.name.startswith("mnist_gen.training.p")]


def test_a_run_says_what_it_does_and_how_it_goes(fit, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    fit(tmp_path, "experiment=cgan_embed20")
    sizes = [
        sum(weight.numel() for weight in network.parameters()) for network in (gan().generator, gan().discriminator)
    ]
    facts, epochs = said(caplog)[:5], said(caplog)[5:]
    assert facts == [
        f"run       {tmp_path}",
        "device    cpu, 1 thread, float32",
        f"networks  generator {sizes[0]:,}, discriminator {sizes[1]:,} parameters",
        "images    240 of MNIST",
        "training  2 epochs of 3 batches of 8 images",
    ]
    number = r"\d+\.?\d*"
    line = rf"epoch {{}}/2  loss_d {number}  loss_g {number}  fid {number}  best {number}  \d+ images/s"
    assert len(epochs) == 2
    for epoch, words in enumerate(epochs, 1):
        assert re.fullmatch(line.format(epoch), words)
        assert len(words) <= 80


def test_a_run_says_how_long_it_will_take(fit, tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "ESTIMATE_AFTER", 0.0)
    fit(tmp_path, "experiment=scorer", *TINY[2:6], tiny=False)
    assert [re.sub(r"\d+", "N", words) for words in said(caplog) if words.startswith("time")] == [
        "time      about N second of training"
    ]


@pytest.mark.parametrize(
    ("experiment", "words"), [("cgan_embed20", TINY), ("autoencoder", FEW), ("mimic_learned", FEW)]
)
def test_the_first_picture_changes_nothing(fit, tmp_path, caplog, monkeypatch, experiment, words):
    caplog.set_level(logging.INFO)
    fit(tmp_path / "without", f"experiment={experiment}", *words, tiny=False)
    assert not (tmp_path / "without/figures/first.png").exists()
    monkeypatch.setattr(pictures, "AFTER", 2)
    fit(tmp_path / "with", f"experiment={experiment}", *words, tiny=False)
    path = tmp_path / "with/figures/first.png"
    assert path.stat().st_size > 50
    assert f"picture   {path}" in said(caplog)
    assert same_weights(tmp_path / "without", tmp_path / "with")


def test_a_loss_that_is_also_the_metric_is_shown_twice(fit, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    fit(tmp_path, "experiment=autoencoder", *FEW, tiny=False)
    epochs = [words for words in said(caplog) if words.startswith("epoch")]
    history = json.loads((tmp_path / "history.json").read_text())
    (_, train), (_, val) = history["train/loss"][-1], history["val/loss"][-1]
    best = min(value for _, value in history["val/loss"])
    assert epochs[-1].startswith(f"epoch 2/2  loss {train:#.3g}  val/loss {val:#.3g}  best {best:#.3g}  ")


def test_the_longest_line_fits_80_columns():
    words = progress.in_words({"loss_d": 0.16934, "loss_g": 12.6481, "fid": 0.097812, "best": 0.097812})
    assert len(f"epoch 10/10  {words}  9999 images/s") <= 80
    assert progress.in_words({"fid": 144.44, "loss": 1e-5}) == "fid 144  loss 1.00e-05"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        *((0.2, "1 second"), (89, "89 seconds"), (91, "2 minutes")),
        *((600, "10 minutes"), (3600, "60 minutes"), (9000, "2 hours")),
    ],
)
def test_durations_are_said_in_words(seconds, words):
    assert progress.duration(seconds) == words


def test_a_loss_that_is_not_there_is_not_shown(fit, tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(screen, "LINE_SECONDS", 0.0)
    fit(tmp_path, "experiment=scorer", *TINY[2:6], "callbacks.progress.shown=[nothing]", tiny=False)
    assert not any("nothing" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(
    ("experiment", "words"),
    [("scorer", TINY[2:6]), ("translate_gan_unpaired", (*PAIRS, TARGET)), ("transfer_semi", SEMI)],
)
def test_every_run_measures_the_metric_that_it_shows(fit, tmp_path, experiment, words):
    fit(tmp_path, f"experiment={experiment}", *words, tiny=False)
    metric = composed(f"experiment={experiment}").callbacks.progress.metric
    assert json.loads((tmp_path / "history.json").read_text())[metric]
