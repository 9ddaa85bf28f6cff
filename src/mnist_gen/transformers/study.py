"""The report's theory of transformers, run: what they compute exactly, what breaks it, and what the report claims."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from mnist_gen import plots
from mnist_gen.data.mnist import IMAGE_SIZE, NUM_CLASSES, ImageData, to_images
from mnist_gen.errors import UserError
from mnist_gen.evaluation import fidelity
from mnist_gen.evaluation.study import Study
from mnist_gen.evaluation.verdicts import DEPENDS, FAILS, HOLDS, Verdict
from mnist_gen.evaluation.verdicts import markdown as claimed
from mnist_gen.runs.tables import markdown
from mnist_gen.system import files
from mnist_gen.transformers.claims import holds, least_error, one_head, order_and_place, relative_error, two_heads
from mnist_gen.transformers.convolutions import AttentionConvolution, AttentionStack, WindowConvolution, offsets_of
from mnist_gen.transformers.dense import TaggedDense, TokenMLP

DTYPES = {"float32": torch.float32, "float64": torch.float64}
BROKEN = 3  # side of the kernel on which it is shown what breaks a construction


class Finding(NamedTuple):
    """What a study found: rows of its two tables, verdicts, pictures and figures."""

    exact: list[tuple[str, dict[str, float]]]  # what computes what, and its largest absolute errors by precision
    broken: list[tuple[str, float]]  # what was changed, and the relative error it makes
    verdicts: list[Verdict]
    pictures: dict[str, plots.Figure]


def errors(make: Callable[..., nn.Module], images: Tensor, *layers: nn.Module) -> dict[str, float]:
    """Largest absolute error by precision of a construction made from layers, against these one after the other."""
    found = {}
    for name, dtype in DTYPES.items():
        exact, wanted = [copy.deepcopy(layer).to(dtype) for layer in layers], images.to(dtype)
        made = make(*exact)(wanted)
        for layer in exact:
            wanted = layer(wanted)
        found[name] = (made - wanted).abs().max().item()
    return found


class _Mimicry(Study, ABC):
    """Looks at the first test images with torch's default weights, seeded.

    Leaves a file of tables named after itself, which is printed too, figures and TensorBoard events.

    Args:
        images: how many to look at.
        seed: of all weights.

    Raises:
        UserError: a number is impossible.
    """

    name: str

    def __init__(self, images: int, seed: int) -> None:
        if images < 1:
            raise UserError(f"study.images={images}: must be at least 1.")
        self.images, self.seed = images, seed

    @torch.no_grad()
    def __call__(self, folder: Path, data: ImageData, scorer: fidelity.Scorer) -> fidelity.Metrics:
        """Looks, and shows what it found."""
        torch.manual_seed(self.seed)
        found = self.look(to_images(data.test.images[: self.images]).cpu())
        rows = [[name, *(f"{error:.1e}" for error in by_precision.values())] for name, by_precision in found.exact]
        text = "\n".join(
            [
                markdown(("computed by a transformer", *(f"largest error, {name}" for name in DTYPES)), rows),
                markdown(("changed", "relative error"), [(name, f"{error:.2g}") for name, error in found.broken]),
                claimed(found.verdicts),
            ]
        )
        files.write(folder / f"{self.name}.md", text)
        print(text)
        with SummaryWriter(str(folder)) as writer:
            writer.add_text(self.name, text)
            for name, picture in found.pictures.items():
                plots.save(picture, folder / "figures" / f"{name}.png")
                writer.add_figure(name, picture)
        worst = {name: max(by_precision[name] for _, by_precision in found.exact) for name in DTYPES}
        return {f"largest_error/{name}": error for name, error in worst.items()}

    @abstractmethod
    def look(self, images: Tensor) -> Finding:
        """Everything that it finds in images (N, 1, 32, 32)."""


class MimicConvolution(_Mimicry):
    """Convolutions by transformers: a token a window, or a token a pixel and a head an offset.

    Args:
        images: how many to look at.
        seed: of all weights.
        kernels: sides.
        channels: that a convolution makes.
        alpha: sharpness of attention where it is to be exact.
        alphas: to try.
        heads: most that a token a pixel may have, no fewer than the largest kernel has pixels; None: any number.

    Raises:
        UserError: as `_Mimicry`, or there are fewer heads than pixels in a kernel.
    """

    name = "mimic_conv"

    def __init__(
        self,
        images: int,
        seed: int,
        kernels: Sequence[int],
        channels: int,
        alpha: float,
        alphas: Sequence[float],
        heads: int | None,
    ) -> None:
        super().__init__(images, seed)
        if not kernels or any(type(kernel) is not int or kernel < 1 or kernel % 2 == 0 for kernel in kernels):
            raise UserError(
                f"study.kernels={kernels}: name odd sides; a window of an even one has no pixel as its centre."
            )
        needed = max(kernels) ** 2
        if heads is not None and heads < needed:
            raise UserError(
                f"study.heads={heads}: a {max(kernels)}x{max(kernels)} kernel needs {needed}, one an offset."
            )
        if channels < 1:
            raise UserError(f"study.channels={channels}: must be at least 1.")
        if not alphas:
            raise UserError("study.alphas=[]: name at least one.")
        for key, tried in (("alpha", [alpha]), ("alphas", alphas)):
            if not all(_is_positive(value) for value in tried):
                raise UserError(f"study.{key}: {tried} must be above 0.")
        self.kernels, self.channels, self.alpha, self.alphas = kernels, channels, alpha, alphas

    def look(self, images: Tensor) -> Finding:
        """As `_Mimicry.look`."""
        exact = self._exact(images)
        convolution = nn.Conv2d(1, self.channels, BROKEN, padding=BROKEN // 2)
        others = {k: nn.Conv2d(1, self.channels, k, padding=k // 2) for k in self.kernels if k != BROKEN}
        kernels = dict(sorted({BROKEN: convolution, **others}.items()))
        by_alpha = {side: self._by_alpha(kernel, images) for side, kernel in kernels.items()}
        by_heads = {side: self._by_heads(kernel, images) for side, kernel in kernels.items()}
        broken = [
            *self._changed(convolution, images),
            *((f"pixels, alpha {a:g}", error) for a, error in zip(self.alphas, by_alpha[BROKEN], strict=True)),
            *((f"pixels, {n} of {BROKEN**2} heads", error) for n, error in enumerate(by_heads[BROKEN], 1)),
        ]
        worst = max(error["float32"] for name, error in exact if name.startswith("windows"))
        claim = "a window for each pixel and the pointwise part do what a kernel does"
        muted = f"left on, relative error {broken[0][1]:.2f}: it has to be muted"
        verdicts = [
            Verdict(claim, holds(worst), f"largest error {worst:.1e}"),
            Verdict("and the attention layer operates as usual", holds(broken[0][1]), muted),
            *order_and_place(images),
        ]
        pictures = {"convolutions": self._picture(images, convolution), **self._curves(by_alpha, by_heads)}
        return Finding(exact, broken, verdicts, pictures)

    def _changed(self, convolution: nn.Conv2d, images: Tensor) -> list[tuple[str, float]]:
        """What breaks it at once."""
        attending, normed = WindowConvolution(convolution), WindowConvolution(convolution)
        _let_attend(attending.block.attention)
        normed.block.norm_feed_forward = nn.LayerNorm(normed.embedding.project.out_features)
        normed_heads = AttentionConvolution(convolution, self.alpha)
        normed_heads.block.norm_attention = nn.LayerNorm(normed_heads.embedding.project.out_features)
        changed = {
            "windows, attention left on (torch's own weights)": attending,
            "windows, with layer normalisation": normed,
            "pixels, with layer normalisation": normed_heads,
            "pixels, without positions (attention alike everywhere)": AttentionConvolution(convolution, 0.0),
        }
        return [(name, relative_error(made(images), convolution(images))) for name, made in changed.items()]

    def _curves(self, by_alpha: dict[int, list[float]], by_heads: dict[int, list[float]]) -> dict[str, plots.Figure]:
        """Errors of each kernel; heads beyond one an offset change nothing."""
        most = max(map(len, by_heads.values()))
        sharp = {f"{side}x{side} kernel": errors for side, errors in by_alpha.items()}
        many = {f"{side}x{side} kernel": [*e, *e[-1:] * (most - len(e))] for side, e in by_heads.items()}
        title, error = "A convolution by attention: error against", "relative error"
        return {
            "alpha": plots.curves(self.alphas, sharp, f"{title} sharpness", error, "alpha", "log"),
            "heads": plots.curves(range(1, most + 1), many, f"{title} the number of heads", error, "heads"),
        }

    def _exact(self, images: Tensor) -> list[tuple[str, dict[str, float]]]:
        coloured = nn.Conv2d(1, 3, 3, padding=1)(images)
        cases = [(f"{k}x{k}", images, nn.Conv2d(1, self.channels, k, padding=k // 2)) for k in self.kernels]
        cases += [
            ("3x3, three channels", coloured, nn.Conv2d(3, self.channels, 3, padding=1)),
            ("3x3, three channels, stride 2, no padding", coloured, nn.Conv2d(3, self.channels, 3, stride=2)),
        ]
        found = []
        for name, seen, convolution in cases:
            found.append((f"windows: {name}", errors(WindowConvolution, seen, convolution)))
            found.append((f"pixels: {name}", errors(self._by_attention, seen, convolution)))
        stack = [nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)]
        layers = [layer for convolution in stack for layer in (convolution, nn.ReLU())][:-1]
        found.append(("pixels: three of 3x3, with ReLU between", errors(self._stack, images, *layers)))
        return found

    def _by_attention(self, convolution: nn.Conv2d) -> AttentionConvolution:
        return AttentionConvolution(convolution, self.alpha)

    def _stack(self, *layers: nn.Module) -> AttentionStack:
        return AttentionStack([layer for layer in layers if isinstance(layer, nn.Conv2d)], self.alpha)

    def _by_alpha(self, convolution: nn.Conv2d, images: Tensor) -> list[float]:
        wanted = convolution(images)
        return [relative_error(AttentionConvolution(convolution, a)(images), wanted) for a in self.alphas]

    def _by_heads(self, convolution: nn.Conv2d, images: Tensor) -> list[float]:
        wanted, needed = convolution(images), convolution.kernel_size[0] ** 2
        return [relative_error(self._with_heads(convolution, n)(images), wanted) for n in range(1, needed + 1)]

    def _with_heads(self, convolution: nn.Conv2d, count: int) -> AttentionConvolution:
        """The offsets that weigh most have a head."""
        weights = convolution.weight.square().sum(dim=(0, 1)).flatten()
        kept, offsets = weights.argsort(descending=True)[:count].tolist(), offsets_of(convolution.kernel_size[0])
        return AttentionConvolution(convolution, self.alpha, [offsets[offset] for offset in kept])

    def _picture(self, images: Tensor, convolution: nn.Conv2d) -> plots.Figure:
        rows = {
            "image": images,
            "convolution": convolution(images)[:, :1],
            "windows": WindowConvolution(convolution)(images)[:, :1],
            "pixels": self._by_attention(convolution)(images)[:, :1],
            "pixels, alpha 0.3": AttentionConvolution(convolution, 0.3)(images)[:, :1],
            "pixels, 5 heads": self._with_heads(convolution, 5)(images)[:, :1],
        }
        low, high = rows["convolution"].min(), rows["convolution"].max()
        shown = [part if name == "image" else (part - low) / (high - low) for name, part in rows.items()]
        return plots.grid(torch.cat(shown), len(images), "A 3x3 convolution by transformers", list(rows))


class MimicDense(_Mimicry):
    """Dense layers and MLPs over a whole image: one token for all of it, or a token a pixel with a tag."""

    name = "mimic_mlp"

    def look(self, images: Tensor) -> Finding:
        """As `_Mimicry.look`."""
        pixels, flat = IMAGE_SIZE**2, nn.Flatten()
        dense, hidden, last = nn.Linear(pixels, NUM_CLASSES), nn.Linear(pixels, 64), nn.Linear(64, NUM_CLASSES)
        exact = [
            (f"one token: dense, {pixels} to 10", errors(_one_token, images, flat, dense)),
            (f"one token: MLP, {pixels} to 64 to 10", errors(_one_token, images, flat, hidden, nn.ReLU(), last)),
            (f"a token a pixel: dense, {pixels} to 10", errors(_tagged, images, flat, dense)),
        ]
        wanted = dense(images.flatten(1))
        attending, normed = TaggedDense(dense, IMAGE_SIZE), TaggedDense(dense, IMAGE_SIZE)
        _let_attend(attending.tagging.attention)
        normed.gathering.norm_feed_forward = nn.LayerNorm(normed.embedding.project.out_features)
        untagged = TaggedDense(dense, IMAGE_SIZE, tagged=False)
        matrix, inputs = dense.weight, images.flatten(1)
        one, two = one_head(matrix), two_heads(matrix)
        bound, apart = least_error(matrix), relative_error(two, matrix)
        broken = [
            ("a token a pixel, attention of the first block left on", relative_error(attending(images), wanted)),
            ("a token a pixel, with layer normalisation", relative_error(normed(images), wanted)),
            ("a token a pixel, without tags", relative_error(untagged(images), wanted)),
            ("the matrix by one head's softmax, at least", bound),
            ("the same, as near as one was found", relative_error(one, matrix)),
            ("and what comes out of that", relative_error(inputs @ one.T, inputs @ matrix.T)),
            ("by two heads, of opposite sign, and a token of zeros", apart),
        ]
        worst = max(error["float32"] for _, error in exact)
        verdicts = [
            Verdict(
                "a transformer is a generalization of MLP",
                holds(worst),
                f"largest error {worst:.1e}: MLPs with one token, a dense layer with a token a pixel too",
            ),
            Verdict(
                "since its self-attention lets all items interact",
                DEPENDS if holds(bound) == FAILS and holds(apart) == HOLDS else holds(bound),
                f"a head's weights are positive: one misses at least {bound:.2f} of a signed matrix; two, of opposite "
                f"sign and with a token of zeros, {apart:.1e}",
            ),
        ]
        rows = torch.cat([matrix, one, two]).unflatten(1, (1, IMAGE_SIZE, IMAGE_SIZE))
        shown = 0.5 + rows / (2 * matrix.abs().max())
        names = ("matrix", "one head", "two heads")
        title = "A signed matrix by attention alone: grey is 0, dark negative"
        picture = plots.grid(shown, len(matrix), title, names, [f"row {row}" for row in range(len(matrix))])
        return Finding(exact, broken, verdicts, {"signed_matrix": picture})


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and value > 0


def _one_token(_: nn.Module, first: nn.Linear, *rest: nn.Module) -> TokenMLP:
    last = rest[-1] if rest else None
    assert last is None or isinstance(last, nn.Linear)
    return TokenMLP(first, last, 1, IMAGE_SIZE)


def _tagged(_: nn.Module, dense: nn.Linear) -> TaggedDense:
    return TaggedDense(dense, IMAGE_SIZE)


def _let_attend(attention: nn.MultiheadAttention) -> None:
    """Torch's own initial weights."""
    attention._reset_parameters()
    attention.out_proj.reset_parameters()
