"""Looking at networks without changing them."""

import pytest
import torch
from torch import nn

from mnist_gen.networks.inspection import Layer, evaluating, layers


def network():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.ReLU(), nn.Flatten()), nn.Linear(16, 2)
    )


def test_layers_have_shapes_and_parameters():
    assert layers(network(), [torch.zeros(2, 1, 4, 4)]) == [
        Layer("0", "Conv2d", (1, 4, 4), (4, 2, 2), 40),
        Layer("1", "BatchNorm2d", (4, 2, 2), (4, 2, 2), 8),
        Layer("2.0", "ReLU", (4, 2, 2), (4, 2, 2), 0),
        Layer("2.1", "Flatten", (4, 2, 2), (16,), 0),
        Layer("3", "Linear", (16,), (2,), 34),
    ]


def test_looking_changes_nothing():
    net = network()
    net[1].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    layers(net, [torch.rand(2, 1, 4, 4)])
    assert [part.training for part in net.modules()] == [True, True, False, True, True, True, True]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(part._forward_hooks for part in net.modules())


def test_modes_return_after_an_error():
    net = network()
    with evaluating(net):
        assert not net.training
        assert not torch.is_grad_enabled()
    with pytest.raises(RuntimeError), evaluating(net):
        net(torch.zeros(1))
    assert all(part.training for part in net.modules())
    assert torch.is_grad_enabled()
