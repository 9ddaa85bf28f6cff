"""A GAN whose labels a classifier reads, and the conditional GAN from 50 labels."""

import pytest
import torch

from mnist_gen.errors import UserError
from mnist_gen.gan import GAN
from mnist_gen.gan.classified_digits import ClassifiedDigits
from mnist_gen.networks.encoders import Encoder
from mnist_gen.networks.heads import LinearHead
from mnist_gen.runs import checkpoint
from tests.autoencoder.conftest import TINY_RUN
from tests.conftest import TINY, recorded, same_weights
from tests.transfer.conftest import semi

CLASSIFIER = (
    *("data.batch_size=60", "data.watched=30", "trainer.max_epochs=1", "model.neighbours=3"),
    *("pretrained=autoencoder", f'pretrained.overrides=["{TINY_RUN[0]}"]'),
)
QUICK = (*TINY, "data.labels=20", "data.labels_seed=0", "data.watched=30")


class Certain(torch.nn.Module):
    """Logits of images whose brightness says what they might be: 0 is a 3, 0.5 is a 4 or a 9, mostly a 4."""

    def forward(self, images):
        logits = torch.full((len(images), 10), -1000.0)
        might = images.flatten(1)[:, 0] > 0
        logits[~might, 3] = 0.0
        logits[might, 4] = torch.tensor(0.8).log()
        logits[might, 9] = torch.tensor(0.2).log()
        return logits


@pytest.fixture
def digits():
    found = ClassifiedDigits(64, Encoder, LinearHead)
    found.network = Certain()
    return found


def test_an_uncertain_image_counts_for_each_digit_that_it_may_be(digits):
    images = torch.zeros(4000, 1, 32, 32)
    images[2000:] = 0.5
    digits.fit(images)
    read = digits(torch.arange(4000))
    assert read[:2000].eq(3).all()
    assert read[2000:].bincount(minlength=10).nonzero().flatten().tolist() == [4, 9]
    assert read[2000:].eq(9).float().mean() == pytest.approx(0.2, abs=0.06)  # six standard deviations


def test_digits_are_drawn_as_often_as_the_classifier_reads_them(digits):
    images = torch.zeros(20, 1, 32, 32)
    images[10:] = 0.5
    digits.fit(images)
    expected = torch.zeros(10)
    expected[[3, 4, 9]] = torch.tensor([0.5, 0.4, 0.1])
    assert torch.allclose(digits.shares, expected, atol=1e-6)
    drawn = digits.draw(10_000, torch.Generator().manual_seed(0))
    assert torch.allclose(drawn.bincount(minlength=10) / 10_000, expected, atol=0.02)


def test_the_averaged_classifier_reads():
    trained, found = semi(), ClassifiedDigits(64, Encoder, LinearHead)
    for weight in trained.averaged.parameters():
        weight.data.add_(0.01)
    found.start_from(trained)
    images = torch.rand(3, 1, 32, 32)
    assert torch.allclose(found.network(images), trained(images)[0], atol=1e-4)
    assert not any(weight.requires_grad for weight in found.parameters())
    assert not found.network.training


@pytest.fixture
def train(fit, tmp_path):
    """`train(name, *words)` trains a tiny `cgan_50_labels`, and its classifier once per test."""
    words = ",".join(f"'{word}'" for word in CLASSIFIER)
    kept = (f"classifier.overrides=[{words}]", f"classifier.folder={tmp_path / 'pretrained'}")

    def run(name, *words):
        fit(tmp_path / name, "experiment=cgan_50_labels", *QUICK, *kept, *words, tiny=False)
        return tmp_path / name

    return run


def test_a_resumed_run_ends_identically_and_knows_no_other_labels(train, interrupted, blind_labels):
    whole = train("whole")
    blind_labels()
    with interrupted(GAN, 9):
        train("stopped")
    stopped = train("stopped")
    assert same_weights(whole, stopped)
    model = checkpoint.load(whole / "checkpoints/last.ckpt")
    assert model.conditional
    assert model.pseudo_labels.shares.sum() == pytest.approx(1)
    assert model.sample(digit=3, count=2).shape == (2, 1, 32, 32)
    found = recorded(whole)["metrics"]
    assert {"test/class_accuracy", "floor/class_accuracy", "test/fid"} <= found.keys()


def test_another_model_cannot_read_digits(made, fit, tmp_path):
    gan = made(tmp_path / "gan", "experiment=cgan_embed20", "trainer.max_epochs=1")
    words = (*QUICK, f"classifier.ckpt={gan / 'checkpoints/last.ckpt'}")
    with pytest.raises(UserError, match=r"is a GAN with labels, not a SemiSupervised: name one made by experiment=tra"):
        fit(tmp_path / "run", "experiment=cgan_50_labels", *words, tiny=False)


def test_hidden_labels_are_no_digits(fit, tmp_path):
    with pytest.raises(UserError, match="data=partly_labelled hides the labels: choose data=mnist, or exp"):
        fit(tmp_path / "run", "experiment=cgan_embed20", "data=partly_labelled", *QUICK, tiny=False)
