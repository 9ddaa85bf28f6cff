"""Looking at networks without changing them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

Examples = Mapping[str, tuple[nn.Module, tuple[Tensor, ...]]]  # by name: a network, and inputs of a few items


@runtime_checkable
class HasExamples(Protocol):
    """A model that says what its networks take."""

    def examples(self) -> Examples:
        """Its networks with their inputs."""


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Inside, the network is in evaluation mode and has no gradients; its parts then return to their own modes."""
    modes = [(part, part.training) for part in network.modules()]
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode


@dataclass(frozen=True)
class Layer:
    """One call of a module without submodules."""

    name: str
    kind: str
    takes: tuple[int, ...]  # shape of the input, without the batch
    shape: tuple[int, ...]  # of the output
    parameters: int


def layers(network: nn.Module, inputs: Sequence[Any]) -> list[Layer]:
    """The layers of a network, in the order in which its inputs pass them."""
    found: list[Layer] = []

    def note(name: str, part: nn.Module, taken: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            own = sum(weight.numel() for weight in part.parameters())
            takes = next((tuple(each.shape[1:]) for each in taken if isinstance(each, Tensor)), ())
            found.append(Layer(name, type(part).__name__, takes, tuple(output.shape[1:]), own))

    with evaluating(network), ExitStack() as hooks:
        for name, part in network.named_modules():
            if not any(True for _ in part.children()):
                hook = part.register_forward_hook(
                    lambda part, taken, output, name=name: note(name, part, taken, output)
                )
                hooks.callback(hook.remove)
        network(*inputs)
    return found
