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
    shape: tuple[int, ...]  # of the output, without the batch
    parameters: int


def layers(network: nn.Module, inputs: Sequence[Any]) -> list[Layer]:
    """The layers of a network, in the order in which its inputs pass them."""
    found: list[Layer] = []

    def note(name: str, part: nn.Module, output: Any) -> None:
        if isinstance(output, Tensor):
            own = sum(weight.numel() for weight in part.parameters())
            found.append(Layer(name, type(part).__name__, tuple(output.shape[1:]), own))

    with evaluating(network), ExitStack() as hooks:
        for name, part in network.named_modules():
            if not any(True for _ in part.children()):
                hook = part.register_forward_hook(lambda part, _, output, name=name: note(name, part, output))
                hooks.callback(hook.remove)
        network(*inputs)
    return found
