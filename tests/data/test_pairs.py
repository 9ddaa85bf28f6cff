import pytest
import torch

from mnist_gen.data.mnist import ImageSet, to_images
from mnist_gen.data.pairs import DatasetPairs, ImagePairs, RenderedImages, first_of_each, pair_images, render
from mnist_gen.data.renderings import Outline
from mnist_gen.errors import UserError

LABELS = torch.arange(100) % 10


def test_paired_images_are_the_same():
    a, b = pair_images(LABELS, "paired", 30, seed=0)
    assert torch.equal(a, b)
    assert len(a.unique()) == 30


def test_loose_images_are_others_of_the_same_digit():
    a, b = pair_images(LABELS, "loose", 30, seed=0)
    assert torch.equal(LABELS[a], LABELS[b])
    assert not (a == b).any()
    assert len(b.unique()) == 30
    a, b = pair_images(LABELS, "loose", 100, seed=0)  # all of them
    assert torch.equal(LABELS[a], LABELS[b])
    assert not (a == b).any()


def test_unpaired_images_are_distinct():
    a, b = pair_images(LABELS, "unpaired", 50, seed=0)
    assert len(torch.cat([a, b]).unique()) == 100


def test_a_depends_on_the_seed_but_not_on_the_pairing():
    images = {pairing: pair_images(LABELS, pairing, 30, seed=1)[0] for pairing in ("paired", "loose", "unpaired")}
    assert torch.equal(images["paired"], images["loose"])
    assert torch.equal(images["paired"], images["unpaired"])
    assert not torch.equal(images["paired"], pair_images(LABELS, "paired", 30, seed=2)[0])


@pytest.mark.parametrize("pairing", ["loose", "unpaired"])
def test_b_depends_on_the_seed(pairing):
    b = pair_images(LABELS, pairing, 30, seed=1)[1]
    assert torch.equal(b, pair_images(LABELS, pairing, 30, seed=1)[1])
    assert not torch.equal(b, pair_images(LABELS, pairing, 30, seed=2)[1])


@pytest.mark.parametrize(
    ("pairing", "count", "message"),
    [
        ("unpaired", 51, "data.pairs=51: unpaired needs 102 images, there are 100"),
        ("paired", 101, "data.pairs=101: paired needs 101 images, there are 100"),
    ],
)
def test_too_many_pairs_are_refused(pairing, count, message):
    with pytest.raises(UserError, match=message):
        pair_images(LABELS, pairing, count, seed=0)


def test_a_rendered_set_is_stored_in_eight_bits():
    images = ImageSet(torch.randint(0, 256, (3, 28, 28), dtype=torch.uint8), torch.arange(3))
    rendered = to_images(render(images, Outline(1)).images)
    assert rendered.shape == (3, 1, 32, 32)
    assert torch.allclose(rendered, Outline(1)(to_images(images.images)), atol=0.5 / 255 + 1e-6)


@pytest.fixture
def options(tiny_data, tmp_path):
    return {"dataset": "MNIST", "root": str(tiny_data), "cache": str(tmp_path / "cache"), "batch_size": 10}


def test_batches_of_pairs(options):
    data = ImagePairs(Outline(1), pairing="paired", pairs=40, epoch_pairs=40, deform=0.0, **options)
    data.prepare_data()
    data.setup()
    for loader, batches in ((data.train_dataloader(), 4), (data.val_dataloader(), 1), (data.test_dataloader(), 1)):
        seen = [data.on_after_batch_transfer(batch, 0) for batch in loader]
        assert len(seen) == batches
        a, b, labels = seen[0]
        assert a.shape == b.shape == (len(labels), 1, 32, 32)
        assert torch.allclose(b, Outline(1)(a), atol=0.5 / 255 + 1e-6)


def test_few_pairs_are_repeated_and_many_pass_once(options):
    for pairs, batches in ((12, 3), (50, 5)):
        data = ImagePairs(Outline(1), pairing="paired", pairs=pairs, epoch_pairs=30, deform=0.0, **options)
        data.prepare_data()
        data.setup()
        batches_of_a = [a for a, _, _ in data.train_dataloader()]
        assert len(batches_of_a) == batches
        assert len(torch.cat(batches_of_a).unique(dim=0)) == pairs


def test_deformation_is_deterministic(options):
    sets = []
    for deform in (0.0, 1.0, 1.0):
        data = ImagePairs(Outline(1), pairing="paired", pairs=40, epoch_pairs=40, deform=deform, **options)
        data.prepare_data()
        data.setup()
        sets.append(data.training.b.images)
    assert torch.equal(sets[1], sets[2])
    assert not torch.equal(sets[0], sets[1])


def test_the_rendered_class_alone(options):
    data = RenderedImages(Outline(1), **options)
    data.prepare_data()
    data.setup()
    assert [part.images.shape[1:] for part in (data.train, data.val, data.test)] == [(32, 32)] * 3
    images, _ = data.on_after_batch_transfer(next(iter(data.test_dataloader())), 0)
    assert images.shape[1:] == (1, 32, 32)


@pytest.mark.parametrize("pairing", ["loose", "unpaired"])
def test_another_data_set_is_matched_by_class_or_not(options, pairing):
    data = DatasetPairs("MNIST", pairing=pairing, pairs=60, epoch_pairs=60, **options)
    data.prepare_data()
    data.setup()
    same = data.training.a.labels == data.training.b.labels
    assert len(same) == 60
    assert same.all() if pairing == "loose" else same.float().mean() < 0.5
    shown = data.counterparts(first_of_each(data.test))
    assert shown.a.labels.tolist() == shown.b.labels.tolist() == list(range(10))
    watched = data.counterparts(data.val)
    assert torch.equal(watched.a.labels, watched.b.labels)
    assert {image.numpy().tobytes() for image in watched.b.images} <= {
        image.numpy().tobytes() for image in data.others.val.images
    }
    assert len(data.known_of_b(7)) == 7
    assert not data.true_counterparts


def test_impossible_pairs_with_another_data_set_are_refused(options):
    with pytest.raises(UserError, match="data.pairing=paired: MNIST holds no counterparts of digits"):
        DatasetPairs("MNIST", pairing="paired", pairs=60, epoch_pairs=60, **options)
    data = DatasetPairs("MNIST", pairing="loose", pairs=10_000, epoch_pairs=60, **options)
    data.prepare_data()
    with pytest.raises(UserError, match="data.pairs=10000: there are "):
        data.setup()


def test_fewer_pairs_than_a_batch_are_refused(options):
    with pytest.raises(UserError, match="data.pairs=9: must be at least data.batch_size=10"):
        ImagePairs(Outline(1), pairing="paired", pairs=9, epoch_pairs=9, deform=0.0, **options)
