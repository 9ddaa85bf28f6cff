"""Batches equal those of torch's DataLoader with a DistributedSampler."""

import itertools

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from mnist_gen.data.batches import Batches, ShuffledBatches

ITEMS = TensorDataset(torch.arange(23), torch.arange(23) * 2)
CPU = torch.device("cpu")


def lists(batches) -> list[list[list[int]]]:
    return [[part.tolist() for part in batch] for batch in batches]


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("processes", [1, 2, 5])
def test_shuffled_batches_are_those_of_torch(processes, drop_last):
    for process, epoch in itertools.product(range(processes), (0, 3)):
        sampler = DistributedSampler(ITEMS, processes, process, seed=7, drop_last=drop_last)
        expected = DataLoader(ITEMS, batch_size=3, sampler=sampler, drop_last=drop_last)
        ours = ShuffledBatches(ITEMS, 3, CPU, 7, drop_last, process, processes)
        for batches in (expected, ours):
            batches.sampler.set_epoch(epoch)
        assert lists(ours) == lists(expected)
        assert len(ours) == len(expected) == len(lists(ours))


def test_batches_in_order():
    batches = Batches(ITEMS, 10, CPU)
    assert lists(batches) == lists(DataLoader(ITEMS, batch_size=10))
    assert [len(batches), len(Batches(ITEMS, 23, CPU)), len(Batches(ITEMS, 100, CPU))] == [3, 1, 1]


def test_only_the_next_pass_skips():
    batches = ShuffledBatches(ITEMS, 3, CPU, 0, drop_last=True, skip=5)
    whole = lists(ShuffledBatches(ITEMS, 3, CPU, 0, drop_last=True))
    assert lists(batches) == whole[5:]
    assert lists(batches) == whole
