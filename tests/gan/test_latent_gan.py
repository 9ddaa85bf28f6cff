"""Whole runs of GANs with an autoencoder or clusters, and the student report's settings."""

import pytest
import torch

from mnist_gen.errors import UserError
from mnist_gen.gan import GAN
from mnist_gen.gan.clusters import Clusters
from mnist_gen.networks.decoders import Decoder
from mnist_gen.runs import checkpoint
from tests.autoencoder.conftest import TINY_RUN as QUICK
from tests.conftest import TINY, composed, recorded, same_weights

SMALL = {
    "gan_latent": ("model.generator.mapping.hidden=8", "model.discriminator.hidden=8"),
    "gan": (
        "model.generator.decoder.channels=4",
        "model.discriminator.channels=2",
        "model.pseudo_labels.count=4",
        "model.pseudo_labels.landmarks=8",
        "pretrained=autoencoder",
    ),
    "gan_decoder": ("model.generator.mapping.hidden=8", "model.discriminator.channels=2"),
}


@pytest.fixture
def train(fit, tmp_path, pretrained):
    """`train(name, experiment, *words)` trains a tiny GAN and keeps its autoencoder in `pretrained`."""
    shared = [word for word in TINY if not word.startswith("model.")]
    quick = "pretrained.overrides=['" + "','".join(QUICK) + "']"

    def run(name, experiment, *words, folder=pretrained):
        kept = (quick, f"pretrained.folder={folder}")
        fit(tmp_path / name, f"experiment={experiment}", *SMALL[experiment], *shared, *kept, *words, tiny=False)
        return tmp_path / name

    return run


def test_a_resumed_latent_space_gan_ends_identically(train, interrupted):
    whole = train("whole", "gan_latent")
    with interrupted(GAN, 9):  # in the second of two epochs of three batches, each two steps
        train("stopped", "gan_latent")
    stopped = train("stopped", "gan_latent")
    assert same_weights(whole, stopped)
    assert same_weights(whole, stopped, "best")
    model = checkpoint.load(whole / "checkpoints/last.ckpt")
    assert model.space.encoder.mean.abs().max() > 0  # fitted to the data and saved
    assert model.sample(count=3).shape == (3, 1, 32, 32)
    found = recorded(whole)["metrics"]
    assert {"test/fid", "test/rarest_digit"} <= found.keys()
    assert "test/cluster_accuracy" not in found


def test_a_resumed_gan_with_clusters_ends_identically(train, interrupted, monkeypatch):
    whole = train("whole", "gan")
    with interrupted(GAN, 9):
        train("stopped", "gan")
    monkeypatch.setattr(Clusters, "_find", lambda *_: pytest.fail("clusters are fitted again"))
    stopped = train("stopped", "gan")
    assert same_weights(whole, stopped)
    assert same_weights(whole, stopped, "best")
    model = checkpoint.load(whole / "checkpoints/last.ckpt")
    assert model.pseudo_labels.shares.unique().numel() > 1  # fitted to the data and saved
    measured, again = (recorded(run)["metrics"] for run in (whole, stopped))
    assert 0.1 <= measured["test/cluster_accuracy"] == again["test/cluster_accuracy"] <= 1
    assert model.sample(count=3).shape == (3, 1, 32, 32)


def test_an_epoch_beyond_the_run_is_refused_before_an_autoencoder_is_trained(train, tmp_path):
    with pytest.raises(UserError, match=r"callbacks.draw.at_epochs=\[100\]: the run ends at epoch 2"):
        train("run", "gan_latent", "callbacks.draw.at_epochs=[100]", folder=tmp_path / "pretrained")
    assert not (tmp_path / "pretrained").exists()


@pytest.mark.parametrize("start", ["pretrained", "pretrained_frozen", "scratch"])
def test_a_gan_with_an_autoencoders_decoder(train, tmp_path, start):
    words, own = [f"model.generator.start={start}", "trainer.max_epochs=1"], tmp_path / "pretrained"
    folder = train("run", "gan_decoder", *words, folder=own)
    assert own.exists() == (start != "scratch")
    decoder = checkpoint.load(folder / "checkpoints/last.ckpt").averaged.decoder
    assert isinstance(decoder, Decoder)
    if start == "pretrained_frozen":
        (kept,) = (tmp_path / "pretrained").glob("*/checkpoints/best.ckpt")
        pretrained = checkpoint.load(kept).decoder
        assert all(torch.equal(a, b) for a, b in zip(decoder.parameters(), pretrained.parameters(), strict=True))


def test_a_latent_space_gan_needs_an_autoencoder(train, tmp_path):
    with pytest.raises(UserError, match="pretrained.experiment=gan is a GAN without labels, not an Autoencoder"):
        train("run", "gan_latent", "pretrained.experiment=gan", "pretrained.overrides=[]")


def test_settings_of_the_student_reports_gan():
    cfg = composed("experiment=student_report/gan")
    model = cfg.model
    assert (model.latent_dim, model.discriminator.activation) == (32, "relu")
    assert (model.loss._target_, model.loss.real_target) == ("mnist_gen.training.adversarial.BCE", 1.0)
    for optimizer in (model.generator_optimizer, model.discriminator_optimizer):
        assert (optimizer._target_, optimizer.lr) == ("torch.optim.Adam", 2e-4)
    assert (model.r1, model.r2, model.mismatch, model.ema_decay, model.decay_from, model.warmup) == (0, 0, 0, 0, 1, 0)
    assert model.discriminator.projection is False
    assert "best" not in cfg.callbacks
    variants = {
        "cgan_onehot": {"label": "onehot"},
        "cgan_embed20": {"label": "embedding"},
        "cgan_embed65": {"label": "embedding", "embedding_dim": 65},
        "cgan_embed20_after": {"label": "embedding", "concat": "after"},
    }
    for name, changed in variants.items():
        assert composed(f"experiment=student_report/{name}").model == {**model, **changed}
    leaky = composed("experiment=student_report/cgan_leaky").model
    assert leaky.discriminator.activation == "leaky_relu"
    leaky.discriminator.activation = "relu"
    assert leaky == composed("experiment=student_report/cgan_embed20").model
