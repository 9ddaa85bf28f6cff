"""What a run says, and its first picture."""

import logging
import re

import pytest

from mnist_gen.training import pictures, progress
from tests.autoencoder.conftest import TINY_RUN as FEW
from tests.conftest import TINY, composed, same_weights
from tests.gan.conftest import gan


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
        "device    cpu, 1 threads, float32",
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
    monkeypatch.setattr(progress, "FORETOLD_SECONDS", 0.0)
    fit(tmp_path, "experiment=scorer", *TINY[2:6], tiny=False)
    assert [re.sub(r"\d+", "N", words) for words in said(caplog) if words.startswith("time")] == [
        "time      about N seconds"
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


def test_every_run_shows_a_metric_that_it_measures():
    for name in ("cgan_embed20", "student_report/gan", "autoencoder", "scorer", "mimic_learned"):
        callbacks = composed(f"experiment={name}").callbacks
        assert callbacks.progress.metric == callbacks.get("best", {"monitor": "val/fid"})["monitor"]
