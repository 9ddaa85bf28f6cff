"""Dense layers and MLPs by transformers: exact constructions, and the changes that break them."""

from functools import partial

import torch
from torch import Tensor, nn

from mnist_gen.data import IMAGE_SIZE, NUM_CLASSES
from mnist_gen.evaluation.verdicts import DEPENDS, Verdict
from mnist_gen.runs import plots
from mnist_gen.transformers.claims import EXACT, exactness, one_head, one_head_bound, relative_error, two_heads
from mnist_gen.transformers.dense import TaggedDense, TokenMLP
from mnist_gen.transformers.slots import reset
from mnist_gen.transformers.study import Errors, Results, TransformerStudy, largest_errors, relative_errors


class MimicDense(TransformerStudy):
    """Computes dense layers and MLPs over a whole image, with one token in all or with one tagged token per pixel."""

    name = "mimic_mlp"

    def measure(self, images: Tensor) -> Results:
        pixels, flat = IMAGE_SIZE**2, nn.Flatten()
        dense, hidden, last = nn.Linear(pixels, NUM_CLASSES), nn.Linear(pixels, 64), nn.Linear(64, NUM_CLASSES)
        one_token, tagged = partial(TokenMLP, IMAGE_SIZE), partial(TaggedDense, IMAGE_SIZE)
        exact = [
            (f"one token: dense, {pixels} to 10", largest_errors(one_token, images, flat, dense)),
            (f"one token: MLP, {pixels} to 64 to 10", largest_errors(one_token, images, flat, hidden, nn.ReLU(), last)),
            (f"one token per pixel: dense, {pixels} to 10", largest_errors(tagged, images, flat, dense)),
        ]
        matrix = dense.weight
        one, two, bound = one_head(matrix), two_heads(matrix), one_head_bound(matrix)
        two_error = relative_error(two, matrix)
        inputs = images.flatten(1)
        broken = [
            *_changed(dense, images),
            ("the matrix by one head's softmax, lower bound", bound),
            ("the matrix by one head's softmax, best found", relative_error(one, matrix)),
            ("the outputs of that head", relative_error(inputs @ one.T, inputs @ matrix.T)),
            ("the matrix by two heads of opposite sign and a token of zeros", two_error),
        ]
        worst = max(errors["float32"] for _, errors in exact)
        verdicts = [
            Verdict(
                "a transformer is a generalization of MLP",
                exactness(worst),
                f"largest error {worst:.1e}: MLPs with one token, and a dense layer with one token per pixel",
            ),
            Verdict(
                "since its self-attention lets all items interact",
                DEPENDS if two_error <= EXACT < bound else exactness(bound),
                f"a head's weights are positive: one head misses at least {bound:.2f} of a signed matrix; two heads of "
                f"opposite sign and a token of zeros miss {two_error:.1e}",
            ),
        ]
        return Results(exact, broken, verdicts, {"signed_matrix": _matrices(matrix, one, two)})


def _changed(dense: nn.Linear, images: Tensor) -> Errors:
    unmuted, normed = TaggedDense(IMAGE_SIZE, dense), TaggedDense(IMAGE_SIZE, dense)
    reset(unmuted.tagging.attention)
    normed.gathering.norm_feed_forward = nn.LayerNorm(normed.embedding.project.out_features)
    changed = {
        "one token per pixel, attention of the first block left on": unmuted,
        "one token per pixel, with layer normalisation": normed,
        "one token per pixel, without tags": TaggedDense(IMAGE_SIZE, dense, tagged=False),
    }
    return relative_errors(changed.items(), images, dense(images.flatten(1)))


def _matrices(matrix: Tensor, one: Tensor, two: Tensor) -> plots.Figure:
    """A matrix (out, pixels) and its approximations, a row each as an image."""
    images = torch.cat([matrix, one, two]).unflatten(1, (1, IMAGE_SIZE, IMAGE_SIZE))
    shown = 0.5 + images / (2 * matrix.abs().max())
    names, rows = ("matrix", "one head", "two heads"), [f"row {row}" for row in range(len(matrix))]
    title = "A signed matrix by attention alone: grey is 0, dark is negative"
    return plots.grid(shown, len(matrix), title, names, rows)
