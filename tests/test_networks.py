from functools import partial

import pytest
import torch
from torch import nn

from mnist_gen.errors import UserError
from mnist_gen.networks import Decoder, Discriminator, Encoder, Generator, PixelShuffleDecoder, Probe, Scorer

IMAGES, LABELS = torch.rand(6, 1, 32, 32), torch.tensor([0, 1, 2, 3, 9, 9])


def count(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)


SMALL = partial(PixelShuffleDecoder, channels=8)


def generator(decoder=SMALL, **options):
    settings = {"latent_dim": 32, "label": "embedding", "embedding_dim": 20, "concat": "before", "last": "sigmoid"}
    return Generator(decoder, **{**settings, **options})


def discriminator(**options):
    settings = {
        "channels": 4, "activation": "leaky_relu", "label": "embedding", "embedding_dim": 20, "projection": True
    }  # fmt: skip
    return Discriminator(**{**settings, **options})


def test_the_reports_autoencoder_exactly():
    encoder, decoder = Encoder(), Decoder()
    assert count(encoder) == 103_440
    assert count(decoder) == 107_249
    latents = encoder(IMAGES)
    assert latents.shape == (6, 64)
    assert decoder(latents).shape == IMAGES.shape


@pytest.mark.parametrize("label", [None, "onehot", "embedding"])
@pytest.mark.parametrize("concat", ["before", "after"])
@pytest.mark.parametrize("last", ["sigmoid", "conv_tanh"])
def test_generator_makes_signed_images(label, concat, last):
    network = generator(label=label, concat=concat, last=last)
    images = network(torch.randn(6, 32), LABELS if label else None)
    assert images.shape == IMAGES.shape
    assert images.abs().max() <= 1
    assert last == "conv_tanh" or images.min() < 0  # an untrained sigmoid is about 0.5, shown as 0


@pytest.mark.parametrize("concat", ["before", "after"])
def test_label_changes_the_image(concat):
    network = generator(concat=concat).eval()
    latents = torch.randn(1, 32).repeat(2, 1)
    one, other = network(latents, torch.tensor([1, 7]))
    assert not torch.equal(one, other)


def test_where_the_label_enters_the_generator():
    before, after = generator(concat="before"), generator(concat="after")
    assert before.decoder[0].in_features == 32 + 20
    assert after.decoder[0].in_features == 32
    assert generator(label="onehot").decoder[0].in_features == 32 + 10
    assert generator(label=None).decoder[0].in_features == 32


def test_embedding_size_costs_what_it_should():
    assert count(generator(embedding_dim=65)) - count(generator(embedding_dim=20)) == 45 * 10 + 45 * 8 * 16
    assert count(discriminator(embedding_dim=65)) - count(discriminator(embedding_dim=20)) == 45 * 10 + 45 * 1024


def test_last_convolution_has_ten_parameters():
    assert count(generator(last="conv_tanh")) - count(generator(last="sigmoid")) == 10


def test_the_reports_decoder_serves_as_generator():
    network = generator(decoder=Decoder)
    assert network(torch.randn(6, 32), LABELS).shape == IMAGES.shape


def test_onehot_is_not_trained():
    code = generator(label="onehot").code
    assert torch.equal(code(torch.tensor([3])), torch.eye(10)[3:4])
    assert not code.weight.requires_grad


@pytest.mark.parametrize("label", [None, "onehot", "embedding"])
@pytest.mark.parametrize("projection", [False, True])
def test_discriminator_scores(label, projection):
    network = discriminator(label=label, projection=projection)
    assert network(IMAGES, LABELS if label else None).shape == (6,)
    assert (network.project is not None) == (projection and label is not None)


def test_discriminator_activations():
    assert any(isinstance(layer, nn.ReLU) for layer in discriminator(activation="relu").body)
    assert any(isinstance(layer, nn.LeakyReLU) for layer in discriminator(activation="leaky_relu").body)


def test_discriminator_looks_at_each_image_alone():
    network = discriminator()
    together = network(IMAGES, LABELS)
    alone = torch.cat([network(image[None], label[None]) for image, label in zip(IMAGES, LABELS, strict=True)])
    assert torch.allclose(together, alone, atol=1e-6)


def test_classifiers():
    scorer = Scorer().eval()
    assert scorer.features(IMAGES).shape == (6, 128)
    assert torch.equal(scorer(IMAGES), scorer.head(scorer.features(IMAGES)))
    assert Probe()(IMAGES).shape == (6, 10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: generator(label="words"), "label=words: choose one of onehot, embedding"),
        (lambda: generator(concat="middle"), "concat=middle: choose one of before, after"),
        (lambda: generator(last="relu"), "last=relu: choose one of sigmoid, conv_tanh"),
        (lambda: generator(embedding_dim=0), "embedding_dim=0: must be at least 1"),
        (lambda: discriminator(activation="swish"), "activation=swish: choose one of relu, leaky_relu"),
    ],
)
def test_wrong_options(make, message):
    with pytest.raises(UserError, match=message):
        make()
