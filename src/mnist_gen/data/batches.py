"""Batches of data sets in memory, gathered where the data lie: on a GPU, a list of positions would make it wait."""

import math
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor


class Indexed(Protocol):
    """A data set that takes many positions (N,) at once."""

    def __len__(self) -> int: ...
    def __getitem__(self, positions: Tensor) -> tuple[Tensor, ...]: ...


class Batches:
    """Batches of all items in order. Under several processes, each gets all of them."""

    def __init__(self, items: Indexed, batch_size: int, device: torch.device) -> None:
        self.items, self.batch_size, self.device = items, batch_size, device

    def __len__(self) -> int:
        return math.ceil(len(self.items) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        for positions in torch.arange(len(self.items), device=self.device).split(self.batch_size):
            yield self.items[positions]


class ShuffledBatches(Batches):
    """Shuffled batches. The order depends only on the seed and the epoch, which Lightning sets.

    Several processes get equally many items: if they do not divide, `drop_last` leaves some out, otherwise the first
    ones come twice. `drop_last` also leaves out an incomplete batch. The next pass skips `skip` batches.
    """

    def __init__(
        self,
        items: Indexed,
        batch_size: int,  # per process
        device: torch.device,
        seed: int,
        drop_last: bool,
        process: int = 0,
        processes: int = 1,
        skip: int = 0,
    ) -> None:
        super().__init__(items, batch_size, device)
        self.seed, self.drop_last, self.process, self.processes, self.skip = seed, drop_last, process, processes, skip
        self.sampler = self  # where Lightning looks for `set_epoch`
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order of the next pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        share = self._rounded(len(self.items) / self.processes)
        return self._rounded(share / self.batch_size)

    def _rounded(self, number: float) -> int:
        return math.floor(number) if self.drop_last else math.ceil(number)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        order = torch.randperm(len(self.items), generator=torch.Generator().manual_seed(self.seed + self.epoch))
        count = self.processes * self._rounded(len(order) / self.processes)
        own = order.repeat(2)[:count][self.process :: self.processes].to(self.device)
        skip, self.skip = self.skip, 0
        for positions in own.split(self.batch_size)[skip : len(self)]:
            yield self.items[positions]
