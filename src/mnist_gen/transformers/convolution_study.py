"""Convolutions by transformers: exact constructions, and the changes that break them."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mnist_gen import plots
from mnist_gen.errors import UserError, check_at_least
from mnist_gen.evaluation.verdicts import Verdict
from mnist_gen.transformers.claims import exactness, order_and_positions, relative_error
from mnist_gen.transformers.convolutions import AttentionConvolution, AttentionStack, WindowConvolution, offsets_of
from mnist_gen.transformers.study import Results, TransformerStudy, largest_errors, reset_attention

BROKEN = 3  # side of the kernel whose construction is changed


class MimicConvolution(TransformerStudy):
    """Computes convolutions with one token per window, and with one token per pixel and one head per offset.

    Args:
        images: number of test images.
        seed: of all weights.
        kernels: odd sides of kernels.
        channels: output channels of each convolution.
        alpha: sharpness of attention in exact constructions.
        alphas: further sharpnesses to measure.
        heads: most heads allowed, at least the pixels of the largest kernel; None: no limit.

    Raises:
        UserError: an argument is out of range.
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
            raise UserError(f"study.kernels={kernels}: must be odd sides, of windows with a pixel at their centre.")
        side = max(kernels)
        if heads is not None and heads < side**2:
            raise UserError(f"study.heads={heads}: a {side}x{side} kernel needs {side**2}, one per offset.")
        check_at_least(1, "study", channels=channels)
        if not _is_positive(alpha):
            raise UserError(f"study.alpha={alpha}: must be above 0.")
        if not alphas or not all(map(_is_positive, alphas)):
            raise UserError(f"study.alphas={alphas}: must be at least one number, all above 0.")
        self.kernels, self.channels, self.alpha, self.alphas = kernels, channels, alpha, alphas

    def measure(self, images: Tensor) -> Results:
        """Measures exact constructions, broken ones, and the claims about order and positions."""
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
        worst = max(errors["float32"] for name, errors in exact if name.startswith("windows"))
        unmuted = broken[0][1]
        verdicts = [
            Verdict(
                "a window for each pixel and the pointwise part do what a kernel does",
                exactness(worst),
                f"largest error {worst:.1e}",
            ),
            Verdict(
                "and the attention layer operates as usual",
                exactness(unmuted),
                f"it must be muted: left on, the relative error is {unmuted:.2f}",
            ),
            *order_and_positions(images),
        ]
        figures = {"convolutions": self._outputs(images, convolution), **self._curves(by_alpha, by_heads)}
        return Results(exact, broken, verdicts, figures)

    def _exact(self, images: Tensor) -> list[tuple[str, dict[str, float]]]:
        coloured = nn.Conv2d(1, 3, 3, padding=1)(images)  # (N, 3, H, W)
        cases = [(f"{k}x{k}", images, nn.Conv2d(1, self.channels, k, padding=k // 2)) for k in self.kernels]
        cases += [
            ("3x3, three channels", coloured, nn.Conv2d(3, self.channels, 3, padding=1)),
            ("3x3, three channels, stride 2, no padding", coloured, nn.Conv2d(3, self.channels, 3, stride=2)),
        ]
        by_attention, errors = partial(AttentionConvolution, alpha=self.alpha), []
        for name, inputs, convolution in cases:
            errors.append((f"windows: {name}", largest_errors(WindowConvolution, inputs, convolution)))
            errors.append((f"pixels: {name}", largest_errors(by_attention, inputs, convolution)))
        stack = [nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)]
        layers = [layer for convolution in stack for layer in (convolution, nn.ReLU())][:-1]
        by_stack = partial(AttentionStack, alpha=self.alpha)
        return [*errors, ("pixels: three 3x3 with ReLUs in between", largest_errors(by_stack, images, *layers))]

    def _changed(self, convolution: nn.Conv2d, images: Tensor) -> list[tuple[str, float]]:
        """The relative error of each single change."""
        unmuted, normed = WindowConvolution(convolution), WindowConvolution(convolution)
        reset_attention(unmuted.block.attention)
        normed.block.norm_feed_forward = nn.LayerNorm(normed.embedding.project.out_features)
        normed_heads = AttentionConvolution(convolution, self.alpha)
        normed_heads.block.norm_attention = nn.LayerNorm(normed_heads.embedding.project.out_features)
        changed = {
            "windows, attention left on (torch's own weights)": unmuted,
            "windows, with layer normalisation": normed,
            "pixels, with layer normalisation": normed_heads,
            "pixels, without positions (uniform attention)": AttentionConvolution(convolution, 0.0),
        }
        return [(name, relative_error(model(images), convolution(images))) for name, model in changed.items()]

    def _by_alpha(self, convolution: nn.Conv2d, images: Tensor) -> list[float]:
        targets = convolution(images)
        return [relative_error(AttentionConvolution(convolution, a)(images), targets) for a in self.alphas]

    def _by_heads(self, convolution: nn.Conv2d, images: Tensor) -> list[float]:
        targets, pixels = convolution(images), convolution.kernel_size[0] ** 2
        return [relative_error(self._with_heads(convolution, n)(images), targets) for n in range(1, pixels + 1)]

    def _with_heads(self, convolution: nn.Conv2d, count: int) -> AttentionConvolution:
        """Gives heads to the offsets with the largest weights."""
        weights = convolution.weight.square().sum(dim=(0, 1)).flatten()
        kept, offsets = weights.argsort(descending=True)[:count].tolist(), offsets_of(convolution.kernel_size[0])
        return AttentionConvolution(convolution, self.alpha, [offsets[offset] for offset in kept])

    def _curves(self, by_alpha: dict[int, list[float]], by_heads: dict[int, list[float]]) -> dict[str, plots.Figure]:
        """The error of each kernel against sharpness, and against heads; heads beyond one per offset change nothing."""
        most = max(map(len, by_heads.values()))
        alphas = {f"{side}x{side} kernel": errors for side, errors in by_alpha.items()}
        heads = {f"{side}x{side} kernel": [*e, *e[-1:] * (most - len(e))] for side, e in by_heads.items()}
        title, error = "A convolution by attention: error against", "relative error"
        return {
            "alpha": plots.curves(self.alphas, alphas, f"{title} sharpness", error, "alpha", "log"),
            "heads": plots.curves(range(1, most + 1), heads, f"{title} the number of heads", error, "heads"),
        }

    def _outputs(self, images: Tensor, convolution: nn.Conv2d) -> plots.Figure:
        rows = {
            "image": images,
            "convolution": convolution(images)[:, :1],
            "windows": WindowConvolution(convolution)(images)[:, :1],
            "pixels": AttentionConvolution(convolution, self.alpha)(images)[:, :1],
            "pixels, alpha 0.3": AttentionConvolution(convolution, 0.3)(images)[:, :1],
            "pixels, 5 heads": self._with_heads(convolution, 5)(images)[:, :1],
        }
        low, high = rows["convolution"].min(), rows["convolution"].max()
        shown = [row if name == "image" else (row - low) / (high - low) for name, row in rows.items()]
        return plots.grid(torch.cat(shown), len(images), "A 3x3 convolution by transformers", list(rows))


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and value > 0
