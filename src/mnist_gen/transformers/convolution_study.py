"""Convolutions by transformers: exact constructions, and the changes that break them."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from mnist_gen.errors import check_odd
from mnist_gen.evaluation.verdicts import Verdict
from mnist_gen.runs import plots
from mnist_gen.transformers.claims import exactness, order_and_positions
from mnist_gen.transformers.convolutions import AttentionConvolution, AttentionStack, WindowConvolution, offsets_of
from mnist_gen.transformers.slots import reset
from mnist_gen.transformers.study import Errors, Results, TransformerStudy, largest_errors, relative_errors

BROKEN = 3  # side of the kernel whose construction is changed


class MimicConvolution(TransformerStudy):
    """Computes convolutions with one token per window, and with one token per pixel and one head per offset."""

    name = "mimic_conv"

    def __init__(
        self,
        images: int,
        seed: int,
        kernels: Sequence[int],  # odd sides
        channels: int,  # outputs of each convolution
        alpha: float,  # sharpness of attention in exact constructions
        alphas: Sequence[float],  # further sharpnesses to measure
    ) -> None:
        super().__init__(images, seed)
        check_odd("study.kernels", kernels, "for windows with a pixel at their centre")
        self.kernels, self.channels, self.alpha, self.alphas = kernels, channels, alpha, alphas

    def measure(self, images: Tensor) -> Results:
        exact = self._exact(images)
        drawn = {side: _same_size(1, self.channels, side) for side in dict.fromkeys((BROKEN, *self.kernels))}
        kernels = dict(sorted(drawn.items()))
        by_alpha = {side: self._by_alpha(kernel, images) for side, kernel in kernels.items()}
        by_heads = {side: self._by_heads(kernel, images) for side, kernel in kernels.items()}
        broken = [*self._changed(kernels[BROKEN], images), *by_alpha[BROKEN], *by_heads[BROKEN]]
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
        figures = {"convolutions": self._outputs(images, kernels[BROKEN]), **self._curves(by_alpha, by_heads)}
        return Results(exact, broken, verdicts, figures)

    def _exact(self, images: Tensor) -> list[tuple[str, dict[str, float]]]:
        coloured = _same_size(1, 3, 3)(images)  # (N, 3, H, W)
        cases = [
            *((f"{k}x{k}", images, _same_size(1, self.channels, k)) for k in self.kernels),
            ("3x3, three channels", coloured, _same_size(3, self.channels, 3)),
            ("3x3, three channels, stride 2, no padding", coloured, nn.Conv2d(3, self.channels, 3, stride=2)),
        ]
        by_pixels = partial(AttentionConvolution, alpha=self.alpha)
        constructions: dict[str, Callable[..., nn.Module]] = {"windows": WindowConvolution, "pixels": by_pixels}
        exact = [
            (f"{tokens}: {name}", largest_errors(build, inputs, convolution))
            for name, inputs, convolution in cases
            for tokens, build in constructions.items()
        ]
        stack = (_same_size(1, 4, 3), nn.ReLU(), _same_size(4, 4, 3), nn.ReLU(), _same_size(4, 4, 3))
        errors = largest_errors(partial(AttentionStack, alpha=self.alpha), images, *stack)
        return [*exact, ("pixels: three 3x3 with ReLUs in between", errors)]

    def _changed(self, convolution: nn.Conv2d, images: Tensor) -> Errors:
        unmuted, normed = WindowConvolution(convolution), WindowConvolution(convolution)
        reset(unmuted.block.attention)
        normed.block.norm_feed_forward = nn.LayerNorm(normed.embedding.project.out_features)
        normed_heads = AttentionConvolution(convolution, self.alpha)
        normed_heads.block.norm_attention = nn.LayerNorm(normed_heads.embedding.project.out_features)
        changed = {
            "windows, attention left on (torch's own weights)": unmuted,
            "windows, with layer normalisation": normed,
            "pixels, with layer normalisation": normed_heads,
            "pixels, without positions (uniform attention)": AttentionConvolution(convolution, 0.0),
        }
        return relative_errors(changed.items(), images, convolution(images))

    def _by_alpha(self, convolution: nn.Conv2d, images: Tensor) -> Errors:
        models = ((f"pixels, alpha {alpha:g}", AttentionConvolution(convolution, alpha)) for alpha in self.alphas)
        return relative_errors(models, images, convolution(images))

    def _by_heads(self, convolution: nn.Conv2d, images: Tensor) -> Errors:
        most = convolution.kernel_size[0] ** 2
        models = ((f"pixels, {n} of {most} heads", self._with_heads(convolution, n)) for n in range(1, most + 1))
        return relative_errors(models, images, convolution(images))

    def _with_heads(self, convolution: nn.Conv2d, count: int) -> AttentionConvolution:
        """Gives heads to the offsets with the largest weights."""
        weights = convolution.weight.square().sum(dim=(0, 1)).flatten()
        kept, offsets = weights.argsort(descending=True)[:count].tolist(), offsets_of(convolution.kernel_size[0])
        return AttentionConvolution(convolution, self.alpha, [offsets[offset] for offset in kept])

    def _curves(self, by_alpha: dict[int, Errors], by_heads: dict[int, Errors]) -> dict[str, plots.Figure]:
        """The error of each kernel against sharpness, and against heads; heads beyond one per offset change nothing."""
        most = max(map(len, by_heads.values()))
        alphas = {f"{side}x{side} kernel": [error for _, error in rows] for side, rows in by_alpha.items()}
        heads = {f"{side}x{side} kernel": [error for _, error in rows] for side, rows in by_heads.items()}
        heads = {name: errors + errors[-1:] * (most - len(errors)) for name, errors in heads.items()}
        title, error = "A convolution by attention: error against", "relative error"
        return {
            "alpha": plots.curves(self.alphas, alphas, f"{title} sharpness", error, "alpha", "log"),
            "heads": plots.curves(range(1, most + 1), heads, f"{title} the number of heads", error, "heads"),
        }

    def _outputs(self, images: Tensor, convolution: nn.Conv2d) -> plots.Figure:
        models = {
            "convolution": convolution,
            "windows": WindowConvolution(convolution),
            "pixels": AttentionConvolution(convolution, self.alpha),
            "pixels, alpha 0.3": AttentionConvolution(convolution, 0.3),
            "pixels, 5 heads": self._with_heads(convolution, 5),
        }
        rows = torch.stack([model(images)[:, :1] for model in models.values()])  # (models, N, 1, H, W)
        low, high = rows[0].min(), rows[0].max()
        shown = torch.cat([images, ((rows - low) / (high - low)).flatten(0, 1)])
        return plots.grid(shown, len(images), "A 3x3 convolution by transformers", ["image", *models])


def _same_size(channels: int, out: int, kernel: int) -> nn.Conv2d:
    """A convolution that keeps the size of an image."""
    return nn.Conv2d(channels, out, kernel, padding=kernel // 2)
