"""What is measured once and kept: CAS of real images."""

import pytest
import torch

from mnist_gen.data.mnist import ImageSet
from mnist_gen.evaluation import fidelity
from mnist_gen.evaluation.floor import cas_of_real_images


def images(count, first=0):
    raw = torch.zeros(count, 28, 28, dtype=torch.uint8)
    raw[0, 0, 0] = first
    return ImageSet(raw, torch.arange(count) % 10)


@pytest.fixture
def measured(monkeypatch):
    """Scores are 0.5, 0.6, ...; a list of how many training images each was measured on."""
    counts = []

    def measure(some, *_):
        counts.append(len(some))
        return 0.4 + len(counts) / 10

    monkeypatch.setattr(fidelity, "cas", measure)
    return counts


def test_it_is_measured_once_for_each_set_of_images(tmp_path, measured):
    for train, test, score in (
        (images(20), images(10), 0.5),
        (images(20), images(10), 0.5),
        (images(20, first=1), images(10), 0.6),
        (images(20), images(10, first=1), 0.7),
        (images(20), images(10), 0.5),
    ):
        assert cas_of_real_images(train, test, tmp_path) == pytest.approx(score)
    assert measured == [20, 20, 20]


@pytest.mark.parametrize("content", ["", "nan", "1e999", "[0.5]", "2.0", '"0.9"', "{"])
def test_a_broken_file_is_measured_again(tmp_path, measured, content):
    cas_of_real_images(images(20), images(10), tmp_path)
    (path,) = tmp_path.rglob("*.json")
    path.write_text(content)
    assert cas_of_real_images(images(20), images(10), tmp_path) == pytest.approx(0.6)
    assert float(path.read_text()) == pytest.approx(0.6)


def test_a_cache_that_cannot_be_written_is_no_obstacle(tmp_path, measured):
    (tmp_path / "floor").touch()
    assert cas_of_real_images(images(20), images(10), tmp_path) == pytest.approx(0.5)
