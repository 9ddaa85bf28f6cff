"""Several processes that train one model, each on its part of a joint batch.

Item i of the joint batch belongs to process i modulo the number of processes. All processes draw the same random
numbers, for the whole joint batch, so that their states never differ.
"""

from collections.abc import Callable, Sequence

import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, distributed


def own_part(draw: Callable[[int], Tensor], count: int) -> Tensor:
    """This process's `count` of the random values that `draw(number)` makes for the joint batch."""
    process, processes = _process()
    return draw(count * processes)[process::processes]


@torch.no_grad()
def average(tensors: Sequence[Tensor]) -> None:
    """Replaces tensors by their means over the processes."""
    _, processes = _process()
    if processes == 1 or not tensors:
        return
    joint = torch.cat([tensor.flatten() for tensor in tensors])
    distributed.all_reduce(joint)
    parts = joint.div_(processes).split([tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))


def _process() -> tuple[int, int]:
    """This process's number, and the number of processes."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


class AveragingStrategy(DDPStrategy):
    """DDP for models that average their gradients themselves, as networks that take turns do, see `descend`.

    Torch's own DDP reduces the gradients of all networks in one backward pass.
    """

    def configure_ddp(self) -> None:
        """Leaves the model as it is."""
