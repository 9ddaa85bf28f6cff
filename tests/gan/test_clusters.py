"""Clusters of similar images, and GANs that use them as labels."""

import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from mnist_gen.autoencoder import Autoencoder
from mnist_gen.data.mnist import ImageData
from mnist_gen.errors import UserError
from mnist_gen.gan import GAN
from mnist_gen.gan.clusters import Clusters
from mnist_gen.gan.spaces import PixelSpace
from mnist_gen.networks.decoders import Decoder
from mnist_gen.networks.encoders import Encoder
from mnist_gen.runs import pretrained
from tests.conftest import composed, same_weights
from tests.gan.conftest import TINY_MODEL, Step, gan


@pytest.fixture(scope="module")
def kinds():
    """Four pictures, ten of one in growing brightness, twenty of the next, ..."""
    random = torch.Generator().manual_seed(0)
    pictures = torch.rand(4, 1, 32, 32, generator=random)
    kind = torch.arange(4).repeat_interleave(torch.tensor([10, 20, 30, 40]))
    brightness = torch.cat([torch.linspace(0.5, 1, count) for count in (10, 20, 30, 40)])
    return kind, pictures[kind] * brightness[:, None, None, None]


@pytest.fixture(scope="module")
def clusters(kinds):
    found = Clusters(4, 20, PixelSpace())
    assert not found.found
    found.fit(kinds[1])
    return found


def test_similar_images_are_in_one_cluster(kinds, clusters):
    kind, images = kinds
    numbers = clusters.assign(images)
    assert torch.equal(clusters(torch.tensor([99, 0])), numbers[[99, 0]])
    assert len({(a, b) for a, b in zip(kind.tolist(), numbers.tolist(), strict=True)}) == 4
    assert clusters.found
    assert torch.equal(clusters.shares[numbers], kind.add(1).div(10))
    nearest = torch.cdist(clusters.landmarks, images.flatten(1) * 2 - 1).argmin(dim=1)
    assert torch.equal(clusters.groups, numbers[nearest])


def test_accuracy_assigns_each_cluster_to_one_digit(kinds, clusters):
    kind, images = kinds
    assert clusters.accuracy(images, 9 - kind) == 1
    digits = kind.clone()
    digits[kind == 3] = torch.tensor([2] * 15 + [3] * 25)  # 2 is taken by a cluster of its own
    assert clusters.accuracy(images, digits) == 0.85
    digits[kind == 2] = 5
    digits[kind == 3] = 5  # two clusters of one digit: only the larger counts
    assert clusters.accuracy(images, digits) == pytest.approx(0.7)


def test_a_cluster_can_have_any_shape():
    angle = torch.linspace(0, 6.28, 201)[:200]
    ring = torch.stack([angle.cos(), angle.sin()], dim=1)
    points = torch.cat([ring, 0.2 * ring, torch.tensor([[3.0, 0.0]]) + 0.2 * ring])
    plane = PixelSpace()
    plane.shape, plane.enter = (2,), lambda images: images[:, 0, 0, :2]
    found, images = Clusters(3, 40, plane), torch.zeros(600, 1, 32, 32)
    images[:, 0, 0, :2] = points
    found.fit(images)
    numbers = found(torch.arange(600))
    assert [len(part.unique()) for part in numbers.split(200)] == [1, 1, 1]
    assert len(numbers.unique()) == 3


def test_clusters_are_drawn_as_often_as_they_occur(clusters):
    drawn = clusters.draw(20_000, torch.Generator().manual_seed(0))
    assert torch.allclose(drawn.bincount(minlength=4) / 20_000, clusters.shares, atol=0.01)
    assert torch.equal(drawn, clusters.draw(20_000, torch.Generator().manual_seed(0)))


def test_invalid_numbers_of_clusters(kinds):
    with pytest.raises(UserError, match="pseudo_labels.landmarks=12: must be at least pseudo_labels.count=13"):
        Clusters(13, 12, PixelSpace())
    with pytest.raises(UserError, match="pseudo_labels.landmarks=101: more than the 100 training images"):
        Clusters(13, 101, PixelSpace()).fit(kinds[1])


FOUR = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))


def on_clusters(*overrides) -> GAN:
    words = (
        "model/pseudo_labels=clusters_of_pixels",
        "model.pseudo_labels.count=4",
        "model.pseudo_labels.landmarks=20",
        "model.label=embedding",
    )
    model = gan(*words, *overrides, experiment="gan_plain")
    model.pseudo_labels.fit(torch.cat([FOUR * brightness for brightness in torch.linspace(1, 0.5, 20)]))
    return model


def test_labels_are_the_clusters_of_real_images(monkeypatch):
    model, positions, seen = on_clusters(), torch.tensor([0, 1, 2, 3, 3, 2, 0, 1]), []
    for name in ("forward", "scores_and_gradients"):
        call = getattr(model.discriminator, name)
        monkeypatch.setattr(model.discriminator, name, lambda x, y, *z, call=call: seen.append(y) or call(x, y, *z))
    step = Step(model, monkeypatch)
    step(FOUR[positions], positions)
    told = model.pseudo_labels.assign(FOUR)[positions]
    assert torch.equal(told[[0, 1, 2, 3]], told[[6, 7, 5, 4]])
    assert len(told.unique()) == 4
    both, wrong, *of_the_generators_step = seen
    assert torch.equal(both, torch.cat([told[:2], told[:2], told[2:], told[2:]]))  # the penalised quarter comes first
    assert (wrong != told[:2]).all()
    assert wrong.max() < 4
    assert all(torch.equal(labels, told) for labels in of_the_generators_step)
    assert {
        "generator.label_vectors.weight",
        "averaged.label_vectors.weight",
        "discriminator.label_vectors.weight",
    } <= step.moved()
    assert not {name for name in step.moved() if name.startswith("pseudo_labels.")}


@pytest.mark.parametrize("concat", ["before", "after"])
def test_clusters_are_drawn_with_latents(concat):
    model = on_clusters(f"model.concat={concat}")
    model.pseudo_labels.shares.copy_(torch.tensor([0.5, 0.0, 0.5, 0.0]))
    latents = model.latents(40, torch.Generator().manual_seed(0))
    assert latents.shape == (40, 32 + 20)
    vectors = latents[:, 32:].unique(dim=0)
    assert torch.equal(vectors, model.averaged.label_vectors.weight[[0, 2]].unique(dim=0))
    assert model.generate(latents).shape == (40, 1, 32, 32)
    assert not torch.equal(*model.generate(torch.cat([latents[:1, :32].repeat(2, 1), vectors], dim=1)))
    assert not model.starts_from
    with pytest.raises(UserError, match="trained without labels"):
        model.sample(digit=3)


def test_clusters_of_latents_start_from_an_autoencoder():
    words = ("pretrained=autoencoder", "model.pseudo_labels.count=4", "model.pseudo_labels.landmarks=8")
    model = instantiate(pretrained.complete(composed("experiment=gan", *TINY_MODEL, *words)).model)
    assert model.starts_from == ["pretrained"]
    autoencoder, images = Autoencoder(64, Encoder, Decoder, torch.optim.Adam, 0, 1.0), torch.rand(20, 1, 32, 32)
    model.start_from(autoencoder)
    model.pseudo_labels.fit(images)
    latents = autoencoder.encode(images)
    standardized = (latents - latents.mean(dim=0)) / latents.std(dim=0)
    nearest = torch.cdist(standardized, model.pseudo_labels.landmarks).argmin(dim=1)
    assert torch.equal(model.pseudo_labels(torch.arange(20)), model.pseudo_labels.groups[nearest])
    assert not any(weights.requires_grad for weights in model.pseudo_labels.parameters())


def test_clusters_without_labels_are_refused():
    with pytest.raises(InstantiationException, match=r"set model.label=embedding or onehot, or ~model/pseudo_labels"):
        gan("model/pseudo_labels=clusters_of_pixels", experiment="gan_plain")


def test_the_data_sets_labels_do_not_matter(made, fit, tmp_path, monkeypatch):
    words = (
        *("experiment=gan_plain", "model.label=embedding", "model/pseudo_labels=clusters_of_pixels"),
        *("model.pseudo_labels.count=4", "model.pseudo_labels.landmarks=8", "data.train_images=100"),
    )
    told = made(tmp_path / "told", *words)
    setup = ImageData.setup

    def lie(self, stage=None):
        setup(self, stage)
        self.train.labels.zero_()

    monkeypatch.setattr(ImageData, "setup", lie)
    fit(tmp_path / "lied_to", *words)
    assert same_weights(told, tmp_path / "lied_to")
