"""The student report's claims about transformers: order, positions, input sizes, and what attention alone computes."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mnist_gen.evaluation.verdicts import FAILS, HOLDS, Verdict, all_or_none
from mnist_gen.networks import transformer

EXACT = 1e-5  # errors up to this are rounding, in single precision
SIMILAR = 0.1  # relative difference up to which tokens count as unchanged by a larger image
SEED = 0  # of the random transformers


def exactness(error: float) -> str:
    """The verdict on a claim of exact equality."""
    return HOLDS if error <= EXACT else FAILS


def relative_error(outputs: Tensor, targets: Tensor) -> float:
    """Root mean squared error over the targets' root mean square."""
    return ((outputs - targets).square().mean() / targets.square().mean()).sqrt().item()


def one_head_bound(matrix: Tensor) -> float:
    """A lower bound on the relative error of one head: it cannot reach the entries of one sign."""
    return (min(matrix.clamp_min(0).norm(), matrix.clamp_max(0).norm()) / matrix.norm()).item()


def one_head(matrix: Tensor) -> Tensor:
    """The best approximation of a signed matrix (out, T) by one attention head, over 400 scales.

    A head's matrix is a softmax, with positive rows that sum to 1, times one scale.
    """
    scales = torch.linspace(0.01, 2, 200) * matrix.abs().sum(dim=1).max()
    candidates = [sign * scale * _onto_simplex(sign * matrix / scale) for scale in scales for sign in (1, -1)]
    return min(candidates, key=lambda candidate: relative_error(candidate, matrix))


def two_heads(matrix: Tensor) -> Tensor:
    """A signed matrix by two heads of opposite sign, and a token of zeros that absorbs spare weight."""
    return (_positive_part(matrix) - _positive_part(-matrix))[:, :-1]


def _positive_part(matrix: Tensor) -> Tensor:
    """The positive entries as a scaled softmax; an extra last column holds the spare weight."""
    positive = matrix.clamp_min(0)
    sums = positive.sum(dim=1, keepdim=True)
    return sums.max() * torch.cat([positive, sums.max() - sums], dim=1).log().softmax(dim=1)


def _onto_simplex(rows: Tensor) -> Tensor:
    """The nearest positive rows that sum to 1 (Duchi et al. 2008)."""
    ordered = rows.sort(dim=1, descending=True).values
    excess = (ordered.cumsum(dim=1) - 1) / torch.arange(1, rows.shape[1] + 1)
    count = (ordered > excess).sum(dim=1, keepdim=True)
    return (rows - excess.gather(1, count - 1)).clamp_min(0)


def order_and_positions(images: Tensor) -> list[Verdict]:
    """Judges the claims about order, positions and input sizes on small transformers with random weights."""
    small = images[:, :, ::2, ::2]
    order = torch.randperm(small.shape[2] * small.shape[3])
    shuffled = small.flatten(2)[:, :, order].view_as(small)
    encodings = (transformer.NoPositions(), transformer.RasterPositions(), transformer.GridPositions())
    models = [_random_transformer(positions) for positions in encodings]
    invariance = relative_error(models[0](shuffled), models[0](small))
    no_positions, raster, grid = (relative_error(model(shuffled), model(small)[:, order]) for model in models)
    changes = [_change_by_padding(model, images) for model in models]
    rotation = _rotation_error()
    return [
        Verdict(
            "a transformer is invariant to permutation",
            exactness(invariance),
            f"it is equivariant: tokens move with their pixels. They differ by {invariance:.2f} at the old places, "
            f"and by {no_positions:.0e} at the new ones",
        ),
        Verdict(
            "it does not consider order, unless positions are added",
            HOLDS if no_positions <= EXACT < min(raster, grid) else FAILS,
            f"{no_positions:.0e} without positions, {raster:.2f} with raster and {grid:.2f} with grid positions",
        ),
        Verdict(
            "sinusoidal positions let it attend to relative ones",
            exactness(rotation),
            f"for every p, PE(p + k) is the same rotation of PE(p), up to {rotation:.0e}",
        ),
        Verdict(
            "it takes inputs of variable length",
            all_or_none([change <= SIMILAR for change in changes]),
            "it runs on 28x28 and on 32x32 pixels. It also attends to the four added rows and columns of zeros, which "
            f"change the other tokens by {changes[0]:.3f} without positions, by {changes[2]:.3f} with grid positions, "
            f"and by {changes[1]:.3f} with raster positions, which a wider image renumbers",
        ),
    ]


def _random_transformer(positions: transformer.Positions) -> transformer.ImageTransformer:
    torch.manual_seed(SEED)
    pixels = transformer.CentredWindows(1)
    return transformer.ImageTransformer(pixels, positions, channels=1, dim=32, depth=2, heads=4, hidden=64).eval()


def _change_by_padding(model: transformer.ImageTransformer, images: Tensor) -> float:
    """How much the tokens of images without their margin change when zeros are added at the right and below."""
    inner = images[:, :, 2:-2, 2:-2]
    rows, columns = inner.shape[2:]
    larger = model(F.pad(inner, (0, 4, 0, 4))).unflatten(1, (rows + 4, columns + 4))
    return relative_error(larger[:, :rows, :columns], model(inner).unflatten(1, (rows, columns)))


def _rotation_error() -> float:
    """Largest error of PE(p + step) as a rotation of PE(p), in double precision."""
    dim, step = 64, 7
    encoding = transformer.sinusoidal(torch.arange(1024, dtype=torch.float64), dim)
    angles = step / transformer.BASE ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    rotations = torch.stack([torch.stack([angles.cos(), angles.sin()]), torch.stack([-angles.sin(), angles.cos()])])
    rotated = torch.einsum("abi,pib->pia", rotations, encoding.unflatten(1, (-1, 2)))
    return (rotated.flatten(1)[:-step] - encoding[step:]).abs().max().item()
