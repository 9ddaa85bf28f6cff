import pytest
import torch

from mnist_gen.clusters import Clusters
from mnist_gen.errors import UserError
from mnist_gen.spaces import Pixels


@pytest.fixture(scope="module")
def kinds():
    """Four pictures, and ten noisy copies of one, twenty of the next, ..."""
    random = torch.Generator().manual_seed(0)
    pictures = torch.rand(4, 1, 32, 32, generator=random)
    kind = torch.arange(4).repeat_interleave(torch.tensor([10, 20, 30, 40]))
    return kind, pictures[kind] + 0.05 * torch.randn(100, 1, 32, 32, generator=random)


@pytest.fixture(scope="module")
def clusters(kinds):
    found = Clusters(4, Pixels())
    assert not found.found
    found.fit(kinds[1])
    return found


def test_alike_images_have_the_same_number(kinds, clusters):
    kind, images = kinds
    numbers = clusters(images)
    assert len({(a, b) for a, b in zip(kind.tolist(), numbers.tolist(), strict=True)}) == 4
    assert clusters.found
    assert torch.equal(clusters.shares[numbers], kind.add(1).div(10))
    means = torch.stack([images[numbers == number].mean(dim=0).flatten() * 2 - 1 for number in range(4)])
    assert torch.allclose(clusters.centers, means, atol=1e-5)


def test_numbers_are_drawn_as_often_as_they_occur(clusters):
    drawn = clusters.draw(20_000, torch.Generator().manual_seed(0))
    assert torch.allclose(drawn.bincount(minlength=4) / 20_000, clusters.shares, atol=0.01)
    assert torch.equal(drawn, clusters.draw(20_000, torch.Generator().manual_seed(0)))


def test_impossible_numbers_of_clusters(kinds):
    with pytest.raises(UserError, match="clusters.count=1: must be at least 2"):
        Clusters(1, Pixels())
    with pytest.raises(UserError, match="clusters.count=101: more than the 100 training images"):
        Clusters(101, Pixels()).fit(kinds[1])
