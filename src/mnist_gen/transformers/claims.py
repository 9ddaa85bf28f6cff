"""What the report says of transformers: order, positions, sizes, and what attention alone can compute."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mnist_gen.evaluation.verdicts import DEPENDS, FAILS, HOLDS, Verdict
from mnist_gen.networks.transformer import (
    BASE,
    CentredWindows,
    ImageTransformer,
    Nowhere,
    Plane,
    Positions,
    Raster,
    sinusoidal,
)

EXACT = 1e-5  # largest error that counts as none, in single precision
ALIKE = 0.1  # relative difference up to which an image of another size is taken for the same
SEED = 0  # of the random transformers


def holds(error: float) -> str:
    """The verdict on a claim that an error is none."""
    return HOLDS if error <= EXACT else FAILS


def relative_error(made: Tensor, wanted: Tensor) -> float:
    """Root mean squared error as a share of what was wanted, by its own root mean square."""
    return ((made - wanted).square().mean() / wanted.square().mean()).sqrt().item()


def least_error(matrix: Tensor) -> float:
    """A bound on the relative error of one head that is to be a signed matrix: entries of one sign are out of reach."""
    return (min(matrix.clamp_min(0).norm(), matrix.clamp_max(0).norm()) / matrix.norm()).item()


def one_head(matrix: Tensor) -> Tensor:
    """The nearest that one attention head comes to a signed matrix (out, T), of many scales that are tried.

    A head weighs inputs by the rows of a softmax, positive and adding up to 1, and its values are scaled by one number.
    """
    scales = torch.linspace(0.01, 2, 200) * matrix.abs().sum(dim=1).max()
    candidates = [sign * scale * _onto_simplex(sign * matrix / scale) for scale in scales for sign in (1, -1)]
    return min(candidates, key=lambda candidate: relative_error(candidate, matrix))


def two_heads(matrix: Tensor) -> Tensor:
    """What two heads of opposite sign make of it, with a token of zeros to take up weight that is left over."""
    return (_one_sign(matrix) - _one_sign(-matrix))[:, :-1]


def _one_sign(matrix: Tensor) -> Tensor:
    """A head's softmax, scaled: the positive entries, and in a last column the weight that is left over."""
    positive = matrix.clamp_min(0)
    sums = positive.sum(dim=1, keepdim=True)
    return sums.max() * torch.cat([positive, sums.max() - sums], dim=1).log().softmax(dim=1)


def _onto_simplex(rows: Tensor) -> Tensor:
    """The nearest rows that are positive and add up to 1 (Duchi et al. 2008)."""
    ordered = rows.sort(dim=1, descending=True).values
    excess = (ordered.cumsum(dim=1) - 1) / torch.arange(1, rows.shape[1] + 1)
    count = (ordered > excess).sum(dim=1, keepdim=True)
    return (rows - excess.gather(1, count - 1)).clamp_min(0)


def order_and_place(images: Tensor) -> list[Verdict]:
    """What the report says of order, positions and sizes, held against a small transformer with random weights."""
    small = images[:, :, ::2, ::2]
    order = torch.randperm(small.shape[2] * small.shape[3])
    shuffled = small.flatten(2)[:, :, order].view_as(small)
    blind, in_rows, in_plane = (_random(positions) for positions in (Nowhere(), Raster(), Plane()))
    moved = relative_error(blind(shuffled), blind(small))
    followed = relative_error(blind(shuffled), blind(small)[:, order])
    told = [relative_error(seeing(shuffled), seeing(small)[:, order]) for seeing in (in_rows, in_plane)]
    none, plane, raster = (_same_pixels(positions, images) for positions in (Nowhere(), Plane(), Raster()))
    turned = _turned()
    return [
        Verdict(
            "a transformer is invariant to permutation",
            holds(moved),
            f"its tokens move with the pixels: unmoved, they differ by {moved:.2f}; moved along, by {followed:.0e}. "
            "It is equivariant",
        ),
        Verdict(
            "it does not consider order, unless positions are added",
            HOLDS if followed <= EXACT < min(told) else FAILS,
            f"without positions {followed:.0e}, with them {told[0]:.2f} row by row and {told[1]:.2f} in the plane",
        ),
        Verdict(
            "sinusoidal positions let it attend to relative ones",
            holds(turned),
            f"PE(p + k) is one rotation of PE(p), for every p, to {turned:.0e}",
        ),
        Verdict(
            "it takes inputs of variable length",
            HOLDS if max(none, plane, raster) <= ALIKE else FAILS if min(none, plane, raster) > ALIKE else DEPENDS,
            f"it runs on 28x28 and on 32x32 pixels. Four rows and columns of zeros more, which it attends to as well, "
            f"change what it makes of the others by {none:.3f} without positions, by {plane:.3f} with positions in the "
            f"plane, and by {raster:.3f} row by row, where a wider image renumbers them",
        ),
    ]


def _random(positions: Positions) -> ImageTransformer:
    torch.manual_seed(SEED)
    return ImageTransformer(CentredWindows(1), positions, channels=1, dim=32, depth=2, heads=4, hidden=64).eval()


def _same_pixels(positions: Positions, images: Tensor) -> float:
    """How much the tokens of an image's inner pixels differ, alone and with zeros at their right and below."""
    model, inner = _random(positions), images[:, :, 2:-2, 2:-2]
    rows, columns = inner.shape[2:]
    larger = model(F.pad(inner, (0, 4, 0, 4))).unflatten(1, (rows + 4, columns + 4))
    return relative_error(larger[:, :rows, :columns], model(inner).unflatten(1, (rows, columns)))


def _turned(dim: int = 64, step: int = 7) -> float:
    """Largest error of PE(p + step) as a rotation of PE(p), in double precision."""
    encoding = sinusoidal(torch.arange(1024, dtype=torch.float64), dim)
    angles = step / BASE ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    turns = torch.stack([torch.stack([angles.cos(), angles.sin()]), torch.stack([-angles.sin(), angles.cos()])])
    rotated = torch.einsum("abi,pib->pia", turns, encoding.unflatten(1, (-1, 2)))
    return (rotated.flatten(1)[:-step] - encoding[step:]).abs().max().item()
