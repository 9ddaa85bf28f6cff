"""Transformers with weights set by hand, compared with the torch layers that they compute."""

import pytest
import torch
from torch import nn

from mnist_gen.errors import UserError
from mnist_gen.transformers.convolutions import AttentionConvolution, AttentionStack, WindowConvolution, offsets_of
from mnist_gen.transformers.dense import TaggedDense, TokenMLP

SIDE = 10
BOUNDS = [(torch.float32, 1e-5), (torch.float64, 1e-10)]
CONVOLUTIONS = [  # in, out, kernel, stride, padding
    (1, 4, 1, 1, 0),
    (1, 4, 3, 1, 1),
    (3, 2, 3, 1, 0),
    (3, 5, 5, 2, 2),
    (2, 3, 4, 3, 1),
]


def error(outputs, targets):
    assert outputs.shape == targets.shape
    return (outputs - targets).abs().max().item()


@pytest.mark.parametrize(("dtype", "bound"), BOUNDS)
@pytest.mark.parametrize("settings", CONVOLUTIONS)
def test_convolutions(settings, dtype, bound):
    convolution = nn.Conv2d(*settings, dtype=dtype)
    images = torch.randn(2, settings[0], SIDE, SIDE + 1, dtype=dtype)
    with torch.no_grad():
        targets = convolution(images)
        assert error(WindowConvolution(convolution)(images), targets) <= bound
        assert error(AttentionConvolution(convolution, alpha=50)(images), targets) <= bound


@pytest.mark.parametrize(("dtype", "bound"), BOUNDS)
def test_a_stack_of_convolutions(dtype, bound):
    settings = [(1, 4, 3, 1, 1), (4, 6, 5, 1, 2), (6, 2, 1, 1, 0)]
    convolutions = [nn.Conv2d(*setting, dtype=dtype) for setting in settings]
    images = torch.rand(2, 1, SIDE, SIDE, dtype=dtype)
    stack = nn.Sequential(convolutions[0], nn.ReLU(), convolutions[1], nn.ReLU(), convolutions[2])
    with torch.no_grad():
        assert error(AttentionStack(*convolutions, alpha=50)(images), stack(images)) <= bound
    with pytest.raises(UserError, match="odd kernels, stride 1 and the padding that keeps the size"):
        AttentionStack(nn.Conv2d(1, 1, 3), alpha=50)


@pytest.mark.parametrize(("dtype", "bound"), BOUNDS)
def test_dense_layers(dtype, bound):
    images = torch.rand(3, 1, SIDE, SIDE, dtype=dtype)
    dense = nn.Linear(SIDE**2, 7, dtype=dtype)
    hidden, out = nn.Linear(SIDE**2, 16, dtype=dtype), nn.Linear(16, 7, dtype=dtype)
    with torch.no_grad():
        targets = dense(images.flatten(1))
        assert error(TokenMLP(SIDE, dense)(images), targets) <= bound
        assert error(TaggedDense(SIDE, dense)(images), targets) <= bound
        mlp = TokenMLP(SIDE, hidden, out)
        assert error(mlp(images), out(hidden(images.flatten(1)).relu())) <= bound


def test_what_breaks_exactness():
    convolution, images = nn.Conv2d(1, 4, 3, padding=1), torch.rand(2, 1, SIDE, SIDE)
    with torch.no_grad():
        targets = convolution(images)
        errors = [error(AttentionConvolution(convolution, alpha)(images), targets) for alpha in (0.1, 1, 5, 20)]
        assert errors == sorted(errors, reverse=True)  # sharper attention is more exact
        assert errors[0] > 0.05
        fewer = AttentionConvolution(convolution, 50, offsets_of(3)[:8])
        largest = convolution.weight[:, :, 2, 2].abs().max() * images.max()
        assert 0.9 * largest < error(fewer(images), targets) <= largest + 1e-5  # one of nine offsets has no head
        unmuted = WindowConvolution(convolution)
        nn.init.xavier_uniform_(unmuted.block.attention.in_proj_weight)
        nn.init.xavier_uniform_(unmuted.block.attention.out_proj.weight)
        assert error(unmuted(images), targets) > 0.01
        dense = nn.Linear(SIDE**2, 7)
        untagged = TaggedDense(SIDE, dense, tagged=False)
        shuffled = images.flatten(1)[:, torch.randperm(SIDE**2)].view_as(images)
        assert torch.allclose(untagged(images), untagged(shuffled), atol=1e-3)  # independent of a pixel's position
        assert error(untagged(images), dense(images.flatten(1))) > 0.1


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(2, 2, 3, groups=2),
        nn.Conv2d(1, 1, 3, dilation=2),
        nn.Conv2d(1, 1, (3, 5)),
        nn.Conv2d(1, 1, 3, padding="same"),
        nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"),
    ],
)
def test_other_convolutions_are_refused(convolution):
    with pytest.raises(UserError, match="needs a square kernel with zero padding"):
        WindowConvolution(convolution)
