"""Which images have labels, and their folds."""

import pytest
import torch

from mnist_gen.data.few_labels import FewLabels, PartlyLabelled, draw_labels, stratified_folds
from mnist_gen.errors import UserError
from tests.conftest import ROOT

LABELS = torch.arange(400) % 10


def few(tiny_data, tmp_path, **options) -> FewLabels:
    settings = {"labels": 20, "labels_seed": 0, "balanced": True, "draws": 1, "folds": 2, "held_out": 50, "watched": 30}
    places = {"dataset": "MNIST", "root": str(tiny_data), "cache": str(tmp_path / "cache"), "batch_size": 16}
    data = FewLabels(**{**settings, **places, **options})
    data.prepare_data()
    data.setup()
    return data


def test_the_student_reports_labels_are_the_first_fifty(real):
    labels = real["train"][1]
    chosen = draw_labels(labels, 50, None, balanced=True)
    assert chosen.tolist() == list(range(50))
    assert torch.bincount(labels[chosen]).tolist() == [4, 7, 4, 7, 4, 4, 5, 4, 4, 7]


def test_labels_spread_only_if_each_digit_has_one():
    options = {"root": str(ROOT / "data"), "cache": "~/.cache/mnist_gen", "batch_size": 16}
    data = PartlyLabelled(dataset="MNIST", labels=10, labels_seed=None, balanced=True, watched=30, **options)
    data.prepare_data()
    with pytest.raises(UserError, match="data.labels=10: none is of 6, 7, 8; draw some of each, data.labels_seed=0."):
        data.setup()


def test_a_balanced_draw_has_equally_many_of_each_digit_without_repeats():
    chosen = draw_labels(LABELS, 50, 3, balanced=True)
    assert torch.bincount(LABELS[chosen]).tolist() == [5] * 10
    assert len(chosen.unique()) == 50


def test_a_draw_depends_on_its_seed_only():
    for balanced in (True, False):
        assert torch.equal(draw_labels(LABELS, 50, 3, balanced), draw_labels(LABELS, 50, 3, balanced))
        assert not torch.equal(draw_labels(LABELS, 50, 3, balanced), draw_labels(LABELS, 50, 4, balanced))


@pytest.mark.parametrize(
    ("count", "balanced", "message"),
    [
        (451, False, "data.labels=451: there are 450 training images"),
        (55, True, "data.labels=55: balancing needs a multiple of 10, or data.balanced=false"),
        (410, True, "data.labels=410: the rarest digit has 40 images; at most 400"),
    ],
)
def test_invalid_draws_are_refused(count, balanced, message):
    labels = torch.cat([LABELS, torch.zeros(50, dtype=torch.long)])
    with pytest.raises(UserError, match=message):
        draw_labels(labels, count, 0, balanced)


def test_folds_are_stratified_and_never_hold_out_a_digits_only_image():
    labels = torch.tensor([0] * 6 + [1] * 4 + [2])
    folds = stratified_folds(labels, 2, held_out=11)
    assert torch.bincount(folds[:6]).tolist() == [3, 3]
    assert torch.bincount(folds[6:10]).tolist() == [2, 2]
    assert folds[10] == -1
    assert stratified_folds(labels, 0, held_out=11).eq(-1).all()


@pytest.mark.parametrize(("held_out", "sizes"), [(1, [10]), (10, [10]), (11, [10, 10]), (50, [10] * 5)])
def test_folds_are_held_out_until_enough_images_are(held_out, sizes):
    labels = torch.arange(50) % 10
    folds = stratified_folds(labels, 5, held_out)
    assert torch.bincount(folds[folds >= 0]).tolist() == sizes


def test_a_batch_holds_all_draws(tiny_data, tmp_path):
    data = few(tiny_data, tmp_path, draws=3)
    images, labels, folds, positions = data.labelled[torch.tensor([4, 0])]
    assert images.shape == (3, 2, 28, 28)
    assert labels.shape == folds.shape == (3, 2)
    assert positions.tolist() == [4, 0]
    alone = few(tiny_data, tmp_path, labels_seed=2)  # the third draw of the three
    assert torch.equal(data.labelled.images[2], alone.labelled.images[0])
    assert torch.equal(data.labelled.labels[2], alone.labelled.labels[0])
    assert data.seeds == [0, 1, 2]


def test_labelled_images_are_neither_watched_nor_tested(tiny_data, tmp_path):
    data = few(tiny_data, tmp_path, labels=100)
    learnt = {image.numpy().tobytes() for image in data.labelled.images[0]}
    for loader in (data.val_dataloader(), data.test_dataloader()):
        assert not learnt & {image.numpy().tobytes() for images, _ in loader for image in images}
    assert sum(len(labels) for _, labels in data.val_dataloader()) == 30


@pytest.mark.parametrize(("batch_size", "sizes"), [(None, [4] * 5), (8, [8, 8, 4])])
def test_a_batch_is_a_fifth_of_the_labels_by_default(tiny_data, tmp_path, batch_size, sizes):
    data = few(tiny_data, tmp_path, draws=2, batch_size=batch_size)
    batches = list(data.train_dataloader())
    assert [labels.shape for _, labels, _, _ in batches] == [(2, size) for size in sizes]
    assert sorted(torch.cat([positions for *_, positions in batches]).tolist()) == list(range(20))


def test_without_watched_images_the_test_images_are_watched(tiny_data, tmp_path):
    data = few(tiny_data, tmp_path, watched=0)
    assert torch.equal(next(iter(data.val_dataloader()))[0], data.test.images[:1000])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"draws": 2, "labels_seed": None}, "data.draws=2: must be 1, or more with a data.labels_seed"),
        ({"folds": 1}, "data.folds=1: must be at least 2, or 0"),
        ({"labels": 500}, "data.labels=500: there are 240 training images"),
    ],
)
def test_invalid_settings_are_refused(tiny_data, tmp_path, option, message):
    with pytest.raises(UserError, match=message):
        few(tiny_data, tmp_path, **option)
