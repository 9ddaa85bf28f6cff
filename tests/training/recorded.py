"""A stand-in for a CUDA graph on a CPU: it records each operation, and repeats it on and into the same memory.

As in a real graph, Python does not run again: numbers and branches stay as they were at the capture.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

T = TypeVar("T")
WAITS = ("aten._local_scalar_dense.default", "aten.nonzero.default", "aten.equal.default")  # for the device


class RecordedGraph(TorchDispatchMode):
    """Records one run of a function. The recording itself leaves everything as it was, like a real capture."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any]] = []
        self.replays = 0
        self._before: dict[int, tuple[Tensor, Tensor]] = {}

    def rehearse(self, step: Callable[[], T]) -> tuple[T, str]:
        return step(), ""

    def capture(self, step: Callable[[], T]) -> T:
        random = torch.get_rng_state()
        try:
            with self:
                return step()
        finally:
            torch.set_rng_state(random)
            for tensor, value in self._before.values():
                tensor.data.copy_(value)

    def replay(self) -> None:
        self.replays += 1
        with torch.no_grad():
            for operation, arguments, options, results in self.operations:
                again = operation(*arguments, **options)
                for old, new in zip(tree_leaves(results), tree_leaves(again), strict=True):
                    if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if str(operation) in WAITS:
            raise RuntimeError(f"{operation} is not permitted when a stream is capturing")
        for given in tree_leaves((args, kwargs)):  # schemas do not tell that batch normalisation changes its statistics
            if isinstance(given, Tensor) and given.data_ptr() not in self._before:
                self._before[given.data_ptr()] = (given.detach(), given.detach().clone())
        results = operation(*args, **(kwargs or {}))
        self.operations.append((operation, *tree_map(_detached, (args, kwargs or {}, results))))
        return results


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value
