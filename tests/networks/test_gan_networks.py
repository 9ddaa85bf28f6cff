from functools import partial

import pytest
import torch
from torch import nn

from mnist_gen.errors import UserError
from mnist_gen.networks.decoders import Decoder, PixelShuffleDecoder
from mnist_gen.networks.discriminators import (
    DEVIATION_WEIGHT,
    Discriminator,
    LatentDiscriminator,
    MinibatchDeviation,
    PatchDiscriminator,
    StackDiscriminator,
)
from mnist_gen.networks.generators import Generator, LatentGenerator, MappingNetwork
from mnist_gen.networks.layers import label_vectors
from tests.networks.conftest import IMAGES, LABELS, count

SMALL = partial(PixelShuffleDecoder, channels=8)
COUNT = 12  # labels


def generator(decoder=SMALL, label="embedding", embedding_dim=20, **options):
    settings = {"latent_dim": 32, "concat": "before", "last": "sigmoid"}
    return Generator(decoder, label_vectors=label_vectors(label, embedding_dim, COUNT), **{**settings, **options})


def discriminator(label="embedding", embedding_dim=20, **options):
    settings = {"channels": 4, "activation": "leaky_relu", "projection": True}
    return Discriminator(label_vectors=label_vectors(label, embedding_dim, COUNT), **{**settings, **options})


@pytest.mark.parametrize("label", [None, "onehot", "embedding"])
@pytest.mark.parametrize("concat", ["before", "after"])
@pytest.mark.parametrize("last", ["sigmoid", "conv_tanh"])
def test_generator_gives_signed_images(label, concat, last):
    network = generator(label=label, concat=concat, last=last)
    images = network(torch.randn(6, 32), LABELS if label else None)
    assert images.shape == IMAGES.shape
    assert images.abs().max() <= 1
    assert images.min() < 0  # an untrained sigmoid is about 0.5, so about 0 in [-1, 1]


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
    assert generator(label="onehot").decoder[0].in_features == 32 + COUNT
    assert generator(label=None).decoder[0].in_features == 32


def test_parameters_of_a_larger_embedding():
    assert count(generator(embedding_dim=65)) - count(generator(embedding_dim=20)) == 45 * COUNT + 45 * 8 * 16
    assert count(discriminator(embedding_dim=65)) - count(discriminator(embedding_dim=20)) == 45 * COUNT + 45 * 1024


def test_last_convolution_has_ten_parameters():
    assert count(generator(last="conv_tanh")) - count(generator(last="sigmoid")) == 10


def test_last_convolution_starts_with_the_sigmoids_image():
    with_it, without = generator(last="conv_tanh").eval(), generator(last="sigmoid").eval()
    without.load_state_dict({name: value for name, value in with_it.state_dict().items() if name[:5] != "last."})
    latents = torch.randn(6, 32)
    assert torch.allclose(with_it(latents, LABELS), without(latents, LABELS), atol=1e-6)


def test_student_reports_generator():
    """An MLP maps latents to the decoder's input, and the label joins before or after the decoder."""
    mapping = partial(MappingNetwork, out_dim=64, hidden=50)
    before = generator(decoder=Decoder, mapping=mapping)
    assert before(torch.randn(6, 32), LABELS).shape == IMAGES.shape
    assert count(before.mapping) == (32 + 1 + 2) * 50 + (50 + 1 + 2) * 50 + (50 + 1) * 64  # 2: batch normalisation
    assert before.decoder[0].in_features == 64 + 20
    assert count(generator(decoder=Decoder, mapping=mapping, label=None).decoder) == 107_249


@pytest.mark.parametrize(
    ("start", "trainable"), [("scratch", 107_249), ("pretrained", 107_249), ("pretrained_frozen", 0)]
)
def test_decoder_starts_from_an_autoencoders(start, trainable):
    network = generator(decoder=Decoder, mapping=partial(MappingNetwork, out_dim=64, hidden=8), label=None, start=start)
    assert count(network.decoder) == trainable
    assert network.starts_pretrained == (start != "scratch")
    pretrained = Decoder(64)
    if network.starts_pretrained:
        network.start_from(nn.Identity(), pretrained)
    same = [torch.equal(a, b) for a, b in zip(network.decoder.parameters(), pretrained.parameters(), strict=True)]
    assert all(same) if start != "scratch" else not any(same)


@pytest.mark.parametrize("label", ["onehot", "embedding"])
def test_label_vector_meets_fresh_weights_in_a_pretrained_decoder(label):
    mapping = partial(MappingNetwork, out_dim=64, hidden=8)
    network = generator(decoder=Decoder, mapping=mapping, label=label, start="pretrained")
    fresh, pretrained = network.decoder[0].weight[:, 64:].clone(), Decoder(64)
    network.start_from(nn.Identity(), pretrained)
    own, copied = network.decoder.state_dict(), pretrained.state_dict()
    assert torch.equal(own.pop("0.weight"), torch.cat([copied.pop("0.weight"), fresh], dim=1))
    assert own.keys() == copied.keys()
    assert all(torch.equal(own[name], copied[name]) for name in own)


def test_frozen_decoder_keeps_its_batch_statistics():
    frozen, trained = (
        generator(mapping=partial(MappingNetwork, out_dim=12, hidden=8), label=None, start=start)
        for start in ("pretrained_frozen", "pretrained")
    )
    assert not any(module.training for module in frozen.decoder.modules())
    assert frozen.mapping.training
    assert all(module.training for module in trained.decoder.modules())


def latent_generator(label=None, concat="before"):
    return LatentGenerator(partial(MappingNetwork, out_dim=7, hidden=16), 32, label_vectors(label, 20, COUNT), concat)


@pytest.mark.parametrize(("label", "width"), [(None, 0), ("onehot", COUNT), ("embedding", 20)])
def test_networks_on_latents(label, width):
    generator = latent_generator(label)
    discriminator = LatentDiscriminator(7, 16, "relu", label_vectors(label, 20, COUNT))
    latents = generator(torch.randn(6, 32), LABELS if label else None)
    assert latents.shape == (6, 7)
    assert discriminator(latents, LABELS if label else None).shape == (6,)
    assert generator.mapping[0].in_features == 32 + width
    assert discriminator.body[0].in_features == 7 + width


def test_onehot_is_not_trained():
    vectors = generator(label="onehot").label_vectors
    assert torch.equal(vectors(torch.tensor([3])), torch.eye(COUNT)[3:4])
    assert not vectors.weight.requires_grad


@pytest.mark.parametrize("label", [None, "onehot", "embedding"])
@pytest.mark.parametrize("projection", [False, True])
def test_discriminator_scores(label, projection):
    network = discriminator(label=label, projection=projection)
    assert network(IMAGES, LABELS if label else None).shape == (6,)
    assert (network.project is not None) == (projection and label is not None)


def test_discriminator_activations():
    assert any(isinstance(layer, nn.ReLU) for layer in discriminator(activation="relu").body)
    assert any(isinstance(layer, nn.LeakyReLU) for layer in discriminator(activation="leaky_relu").body)


def test_discriminator_scores_each_image_alone():
    network = discriminator()
    together = network(IMAGES, LABELS)
    alone = torch.cat([network(image[None], label[None]) for image, label in zip(IMAGES, LABELS, strict=True)])
    assert torch.allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: generator(start="pretrained_frozen"),
            "start=pretrained_frozen: a frozen decoder cannot learn to use a label vector",
        ),
        (lambda: latent_generator(concat="after"), "concat=after: choose before"),
    ],
)
def test_wrong_options(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_patch_discriminator_averages_scores_of_patches():
    network = PatchDiscriminator(planes=2, channels=4)
    pairs = torch.rand(3, 2, 32, 32, requires_grad=True)
    patches = nn.Sequential(*list(network)[:-2])(pairs)
    assert patches.shape == (3, 1, 8, 8)
    assert torch.allclose(network(pairs), patches.mean(dim=(1, 2, 3)), atol=1e-6)
    (gradient,) = torch.autograd.grad(patches[0, 0, 4, 4], pairs)
    rows, columns = gradient[0].abs().sum(dim=0).nonzero().T
    assert int(rows.max() - rows.min() + 1) == int(columns.max() - columns.min() + 1) == 20


def test_minibatch_deviation_reveals_identical_images():
    features = torch.tensor([[0.0, 4.0], [2.0, 4.0], [5.0, 5.0], [5.0, 5.0]])
    extended = MinibatchDeviation(2)(features)
    assert torch.equal(extended[:, :2], features)
    assert extended[:, 2].tolist() == pytest.approx([DEVIATION_WEIGHT * 0.5] * 2 + [0.0] * 2, abs=1e-3)
    features = torch.ones(2, 2, requires_grad=True)
    MinibatchDeviation(2)(features).sum().backward()
    assert features.grad.isfinite().all()
    with pytest.raises(UserError, match="model.discriminator.group=3: must be a divisor of data.batch_size"):
        MinibatchDeviation(3)(features)


def test_stack_discriminator_compares_groups_on_request():
    torch.manual_seed(0)
    images, one = torch.rand(4, 1, 32, 32), torch.rand(1, 1, 32, 32)
    mixed = torch.cat([images[:1], one.expand(3, 1, 32, 32)])
    alone, grouped = (StackDiscriminator(planes=1, channels=2, group=group) for group in (1, 4))
    assert count(grouped) == count(alone) + 1
    assert torch.allclose(alone(images)[0], alone(mixed)[0], atol=1e-6)
    assert (grouped(images)[0] - grouped(mixed)[0]).abs() > 1e-4
