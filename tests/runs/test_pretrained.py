"""The autoencoder that a classifier starts from: trained once, found again, or named."""

import json
import logging

import pytest
import torch
from omegaconf import OmegaConf

from mnist_gen.errors import UserError
from mnist_gen.runs import checkpoint, pretrained
from mnist_gen.runs.config import plain
from tests.autoencoder.conftest import TINY_RUN as QUICK
from tests.conftest import CONF, composed
from tests.transfer.conftest import TINY_RUN as FEW

FROZEN = "experiment=transfer_linear_frozen"


@pytest.fixture
def transfer(fit, tmp_path):
    """`transfer(name, *words)` runs a tiny transfer experiment; autoencoders are kept in `pretrained`."""

    def run(name: str, *words: str):
        fit(tmp_path / name, FROZEN, *FEW, f"pretrained.folder={tmp_path / 'pretrained'}", *words, tiny=False)
        return checkpoint.load(tmp_path / name / "checkpoints/last.ckpt")

    return run


def folders(tmp_path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "pretrained").iterdir())


def test_it_is_trained_once_and_says_so(transfer, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    first = transfer("a")
    assert sum("training autoencoder once" in record.message for record in caplog.records) == 1
    (kept,) = folders(tmp_path)
    before = (tmp_path / "pretrained" / kept / "metrics.json").stat().st_mtime_ns
    second = transfer("b", "seed=3", "model.patience=2", "data.labels_seed=4")
    assert folders(tmp_path) == [kept]
    assert (tmp_path / "pretrained" / kept / "metrics.json").stat().st_mtime_ns == before
    for one, other in zip(first.encoder.network.parameters(), second.encoder.network.parameters(), strict=True):
        assert torch.equal(one, other)
    third = transfer("c")  # whether it was trained for this run changes nothing
    assert all(torch.equal(value, third.state_dict()[name]) for name, value in first.state_dict().items())
    words = next(word for word in FEW if word.startswith("pretrained.overrides"))
    model = transfer("d", words[:-1] + ",'model.latent_dim=7']")  # another one has another folder
    assert len(folders(tmp_path)) == 2
    assert model.encoder.mean.shape == (7,)
    assert [head.in_features for head in model.best[0].head] == [7]


def test_a_named_one_brings_its_networks(fit, transfer, tmp_path):
    fit(tmp_path / "wide", "experiment=autoencoder_wide", "model.encoder.channels=4", *QUICK, tiny=False)
    ckpt = tmp_path / "wide/checkpoints/best.ckpt"
    model = transfer("a", f"pretrained.ckpt={ckpt}")
    assert not (tmp_path / "pretrained").exists()
    named = checkpoint.load(ckpt)
    images = torch.rand(3, 1, 32, 32)
    assert torch.allclose(model.encoder.network(images), named.encode(images), atol=1e-6)


def test_another_model_is_refused(transfer, made, pretrained, tmp_path):
    made(tmp_path / "a", FROZEN, *FEW, f"pretrained.folder={pretrained}", tiny=False)
    ckpt = tmp_path / "a/checkpoints/last.ckpt"
    with pytest.raises(UserError, match=r"pretrained.ckpt=.* is a Transfer, not an Autoencoder: name one made by"):
        transfer("b", f"pretrained.ckpt={ckpt}")
    with pytest.raises(UserError, match="pretrained.experiment=cgan_embed20 is a GAN with labels, not an Autoencoder"):
        transfer("b", "pretrained.experiment=cgan_embed20")
    with pytest.raises(UserError, match=r"ckpt=nowhere.ckpt: no such file"):
        transfer("b", "pretrained.ckpt=nowhere.ckpt")


@pytest.mark.parametrize("word", ["data.labels=500", "data.labels=25", "data.labels=9"])
def test_impossible_labels_show_before_an_autoencoder_is_trained(transfer, tmp_path, word):
    with pytest.raises(UserError, match=word):
        transfer("a", word)
    assert not (tmp_path / "pretrained").exists()


@pytest.fixture
def root(tmp_path):
    """A project's folder without runs."""
    (tmp_path / "conf").symlink_to(CONF)
    return tmp_path


def test_what_it_draws_and_where_it_lies_do_not_make_it_another_one(root):
    def folder(*words):
        return pretrained.own_run(composed(FROZEN, f"root={root}", *words), "pretrained")[1]

    usual = folder()
    assert folder("pretrained.overrides=['callbacks.project.count=5']") == usual
    assert folder(f"data.cache={root}", "seed=7", "trainer=gpu") == usual
    assert folder("pretrained.overrides=['seed=7']") != usual
    assert folder("pretrained=autoencoder").name.startswith("autoencoder-")


def test_a_run_of_its_command_is_found(root):
    cfg = composed(FROZEN, "pretrained=autoencoder", f"root={root}")
    own, kept = pretrained.own_run(cfg, "pretrained")
    for name, seed in (("1", own.seed), ("2", 7)):
        run = root / "outputs/autoencoder" / name
        run.mkdir(parents=True)
        record = {"config": plain(OmegaConf.merge(own, {"seed": seed})), "metrics": {}}
        (run / "metrics.json").write_text(json.dumps(record))
    assert kept.parent == root / "outputs/pretrained"
    assert pretrained.own_run(cfg, "pretrained")[1] == root / "outputs/autoencoder/1"


def test_a_gan_that_was_judged_otherwise_is_another_one(root):
    def folder(*words):
        return pretrained.own_run(composed("experiment=interpolation", f"root={root}", *words), "gan")[1]

    assert folder("scorer=mine.safetensors") != folder()
    assert folder("gan.overrides=['callbacks.metrics.cas=false']") == folder()
    assert folder("gan.overrides=['callbacks=adversarial_last']") != folder()
