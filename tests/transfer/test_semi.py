"""Label spreading, and semi-supervised runs."""

import json
import logging

import pytest
import torch

from mnist_gen.autoencoder import Autoencoder
from mnist_gen.evaluation.dashboard import tag_of
from mnist_gen.networks.decoders import Decoder
from mnist_gen.networks.encoders import Encoder
from mnist_gen.runs import checkpoint
from mnist_gen.transfer.semi import SemiSupervised, spread
from tests.conftest import events, recorded, same_weights
from tests.transfer.conftest import SEMI_RUN, semi


def test_labels_spread_along_clusters_rather_than_to_the_nearest_latent():
    torch.manual_seed(0)
    # two long parallel strips of latents: the end of one is nearer to the other's label than to its own
    along = torch.linspace(0, 1, 200)
    strips = [torch.stack([along.mul(3).cos(), along.mul(3).sin(), torch.full((200,), x)], dim=1) for x in (-0.3, 0.3)]
    latents = torch.cat(strips)
    known = torch.tensor([0, 399])
    digits, certainty = spread(latents, known, torch.tensor([4, 7]), neighbours=5, alpha=0.99)
    assert certainty == pytest.approx(1.0)  # each strip has one label
    assert digits[:200].eq(4).all()
    assert digits[200:].eq(7).all()
    nearest = torch.cdist(latents, latents[known]).argmin(dim=1)
    assert nearest[:200].ne(0).any()


def test_known_labels_are_kept():
    torch.manual_seed(0)
    latents, known = torch.randn(50, 8), torch.tensor([3, 30, 44])
    digits, certainty = spread(latents, known, torch.tensor([9, 0, 5]), neighbours=4, alpha=0.5)
    assert digits[known].tolist() == [9, 0, 5]
    others = torch.ones(50, dtype=torch.bool)
    others[known] = False
    assert certainty[known].min() > certainty[others].median()


def test_unreached_latents_have_no_certainty():
    torch.manual_seed(0)
    away = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    latents = torch.cat([away[0] + 0.1 * torch.randn(30, 2), away[1] + 0.1 * torch.randn(30, 2)])
    _, certainty = spread(latents, torch.tensor([0, 1]), torch.tensor([2, 3]), neighbours=3, alpha=0.9)
    assert certainty[30:].max() == 0
    assert certainty[:30].min() > 0


def test_training_fits_the_spread_labels():
    model = semi()
    model.targets, model.weights = torch.tensor([3, 8, 3, 8]), torch.ones(4)
    optimizer = torch.optim.Adam(model.network.parameters(), lr=1e-3)
    images = torch.rand(4, 1, 32, 32)
    for _ in range(60):
        loss = model.training_step((images, torch.arange(4)), 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert model.network.eval()(images).argmax(dim=1).tolist() == [3, 8, 3, 8]


def test_losses_are_weighted_by_certainty():
    model = semi().eval()
    model.targets, images = torch.tensor([3, 8]), torch.rand(2, 1, 32, 32)
    losses = []
    for weights in ([2.0, 0.0], [0.0, 2.0], [0.5, 1.5]):
        model.weights = torch.tensor(weights)
        losses.append(model.training_step((images, torch.arange(2)), 0).item())
    assert losses[2] == pytest.approx(0.25 * losses[0] + 0.75 * losses[1])


def test_the_network_starts_from_the_autoencoder_and_the_average_is_not_trained():
    model = semi()
    autoencoder = Autoencoder(64, Encoder, Decoder, torch.optim.Adam, 0, 1.0)
    model.start_from(autoencoder)
    images = torch.rand(2, 1, 32, 32)
    for network in (model.network, model.averaged):
        assert torch.equal(network[0](images), autoencoder.encode(images))
    assert all(weight.requires_grad for weight in model.network.parameters())
    assert not any(weight.requires_grad for weight in model.averaged.parameters())
    assert model.network.training
    assert not model.averaged.training


def test_a_run_writes_metrics_curves_and_a_checkpoint(fit, tmp_path, caplog):
    folder = tmp_path / "run"
    caplog.set_level(logging.INFO)
    fit(folder, "experiment=transfer_semi", *SEMI_RUN, f"pretrained.folder={tmp_path / 'pretrained'}", tiny=False)
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"last.ckpt", "previous.ckpt"}
    assert sum("training autoencoder once, in" in record.message for record in caplog.records) == 1
    metrics = recorded(folder)["metrics"]
    assert {"test/accuracy", "test/f1_macro", "train/accuracy"} <= metrics.keys()
    assert metrics["test/kept_epoch"] == 3
    log = events(folder)
    assert all(
        [event.step for event in log.Scalars(tag_of(f"{group}/accuracy"))] == [4, 8, 12] for group in ("val", "learnt")
    )
    model = checkpoint.load(folder / "checkpoints/last.ckpt")
    assert model(torch.rand(5, 1, 32, 32)).shape == (1, 5, 10)


@pytest.mark.parametrize("stop", [3, 6])  # four batches per epoch; labels spread before epochs 1 and 3
def test_a_resumed_run_ends_with_the_same_weights(fit, made, tmp_path, pretrained, interrupted, stop, recwarn):
    words = ["experiment=transfer_semi", *SEMI_RUN, f"pretrained.folder={pretrained}"]
    whole, stopped = made(tmp_path / "whole", *words, tiny=False), tmp_path / "stopped"
    with interrupted(SemiSupervised, stop):
        fit(stopped, *words, tiny=False)
    fit(stopped, *words, tiny=False)
    assert same_weights(whole, stopped)
    assert json.loads((whole / "draws.json").read_text()) == json.loads((stopped / "draws.json").read_text())
    assert not any("not resumable" in str(warning.message) for warning in recwarn)


def test_no_other_labels_are_used(fit, tmp_path, pretrained, blind_labels):
    words = ["experiment=transfer_semi", *SEMI_RUN, f"pretrained.folder={pretrained}", "trainer.max_epochs=1"]
    fit(tmp_path / "run", *words, tiny=False)
    blind_labels()
    fit(tmp_path / "blind", *words, tiny=False)
    assert same_weights(tmp_path / "run", tmp_path / "blind")
