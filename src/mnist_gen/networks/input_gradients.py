"""Gradients of scores at their inputs, for gradient penalties.

A network of convolutions, linear layers and (leaky) ReLUs is piecewise linear: its gradient is a pass through the
transposed layers, in which each activation multiplies by its slope. The slopes do not depend on the weights, except
where an activation changes its piece; the signs of its inputs show them, or those of its outputs if it works in place.
So this pass is an ordinary forward pass to autograd, and training on it needs no double backward. Scores, gradients and
the gradients of weights equal autograd's.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Pullback = Callable[[Tensor], Tensor]


def with_pullback(layers: nn.Sequential, inputs: Tensor, count: int) -> tuple[Tensor, Pullback]:
    """Outputs (N, ...) of piecewise linear layers, and the map from gradients at the first `count` outputs to inputs.

    Raises KeyError for a layer that is not in `TRANSPOSED`.
    """
    passed = []
    for layer in _single(layers):
        passed.append((layer, inputs[:count].detach(), TRANSPOSED[type(layer)]))
        inputs = layer(inputs)

    def pull(gradients: Tensor) -> Tensor:
        for layer, known, transposed in reversed(passed):
            gradients = transposed(layer, known, gradients)
        return gradients

    return inputs, pull


def by_autograd(
    network: Callable[..., Tensor], points: Tensor, labels: Tensor | None, count: int
) -> tuple[Tensor, Tensor]:
    """Scores (N,) of any network, and their gradients at the first `count` points, which training can differentiate."""
    first, rest = points[:count].requires_grad_(), points[count:]
    scores = network(first) if labels is None else network(first, labels[:count])
    (gradients,) = torch.autograd.grad(scores.sum(), first, create_graph=True)
    if len(rest):
        others = network(rest) if labels is None else network(rest, labels[count:])
        scores = torch.cat([scores, others])
    return scores, gradients


def _single(layers: nn.Sequential) -> Iterator[nn.Module]:
    for layer in layers:
        if isinstance(layer, nn.Sequential):
            yield from _single(layer)
        else:
            yield layer


def _convolution(layer: nn.Conv2d, inputs: Tensor, gradients: Tensor) -> Tensor:
    assert not isinstance(layer.padding, str)
    sizes = zip(inputs.shape[2:], layer.kernel_size, layer.stride, layer.padding, strict=True)
    cut = [(size + 2 * padding - kernel) % stride for size, kernel, stride, padding in sizes]
    return F.conv_transpose2d(gradients, layer.weight, None, layer.stride, layer.padding, cut, layer.groups)


def _leaky(layer: nn.LeakyReLU, inputs: Tensor, gradients: Tensor) -> Tensor:
    return torch.ops.aten.leaky_relu_backward(gradients, inputs, layer.negative_slope, False)  # where() is 10 x slower


def _averages(layer: nn.AvgPool2d, inputs: Tensor, gradients: Tensor) -> Tensor:
    assert layer.kernel_size == layer.stride
    shares = gradients / (inputs.shape[2] * inputs.shape[3] / (gradients.shape[2] * gradients.shape[3]))
    return F.interpolate(shares, size=inputs.shape[2:])


TRANSPOSED: dict[type[nn.Module], Callable[..., Tensor]] = {  # (layer, its inputs, gradients at outputs) -> at inputs
    nn.Conv2d: _convolution,
    nn.Linear: lambda layer, inputs, gradients: gradients @ layer.weight,
    nn.LeakyReLU: _leaky,
    nn.ReLU: lambda layer, inputs, gradients: torch.ops.aten.threshold_backward(gradients, inputs, 0),
    nn.AvgPool2d: _averages,
    nn.PixelUnshuffle: lambda layer, inputs, gradients: F.pixel_shuffle(gradients, layer.downscale_factor),
    nn.Flatten: lambda layer, inputs, gradients: gradients.reshape(inputs.shape),
}
