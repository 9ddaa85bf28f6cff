"""The student report's question: which space interpolates better, the autoencoder's or the GAN's, and why?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from mnist_gen import plots
from mnist_gen.autoencoder import Autoencoder
from mnist_gen.data import NUM_CLASSES
from mnist_gen.data.mnist import ImageData, to_images
from mnist_gen.errors import UserError, check_at_least
from mnist_gen.evaluation import fidelity
from mnist_gen.evaluation.study import Study
from mnist_gen.evaluation.verdicts import markdown as verdict_table
from mnist_gen.gan import GAN
from mnist_gen.interpolation import claims
from mnist_gen.interpolation.measurements import PARTS, REAL, Measurements, Settings, measure
from mnist_gen.interpolation.paths import Interpolator, LabelledLatents, encoded_images, interpolators, sampled_latents
from mnist_gen.runs.tables import markdown

COLUMNS = {  # of the table, with their formats
    "FID": "{:.2f}", "FID_of_starts": "{:.2f}", "confidence": "{:.2f}", "legible": "{:.1%}", "third_digit": "{:.1%}",
    "entropy": "{:.2f}", "sharpness": "{:.2f}", "inside": "{:.1%}", "density": "{:.2f}", "nearest": "{:.2f}",
    "detour": "{:.2f}", "jump": "{:.2f}",
}  # fmt: skip
AXES = {  # of the charts
    "confidence": "the scorer's confidence", "entropy": "the scorer's entropy in nats", "legible": "legible share",
    "third_digit": "share that shows a third digit", "sharpness": "sharpness",
    "nearest": "distance to a training image", "inside": "share inside the real manifold", "density": "density",
}  # fmt: skip


class Interpolation(Study):
    """Interpolates between digits: strips of some pairs, metrics over many, and an answer to the report's question.

    The autoencoder interpolates between latents of validation images, the GAN between latents whose digits the scorer
    reads, and the conditional GAN between labels. Writes and prints answer.md, and leaves figures and TensorBoard
    events.

    Args:
        pairs: random pairs of different digits, and paths for each pair in `digits`.
        steps: images on a path, both ends included; odd.
        digits: pairs of digits that are drawn.
        neighbours: k of density, of the real manifold, and of the nearest-neighbour classifier.
        seed: of all random choices.

    Raises:
        UserError: a number or a pair of digits is impossible.
    """

    parts = ("autoencoder", "gan", "cgan")

    def __init__(self, pairs: int, steps: int, digits: Sequence[Sequence[int]], neighbours: int, seed: int) -> None:
        check_at_least(2 * PARTS, "study", pairs=pairs)
        if steps < 3 or steps % 2 == 0:
            raise UserError(f"study.steps={steps}: must be odd and at least 3, so that a path has a midpoint.")
        for pair in digits:
            if not _are_two_digits(pair):
                raise UserError(
                    f"study.digits: {pair} must be two different digits from 0 to {NUM_CLASSES - 1}, "
                    "in a list of such pairs, [[1,0]]."
                )
        check_at_least(1, "study", neighbours=neighbours)
        self.settings = Settings(pairs, steps, [(first, second) for first, second in digits], neighbours, seed)

    def check(self, data: ImageData, models: Mapping[str, DictConfig]) -> None:
        """As `Study.check`: needs more test images than neighbours, and a GAN without clusters."""
        neighbours = self.settings.neighbours
        if len(data.test) <= neighbours:
            raise UserError(f"study.neighbours={neighbours}: must be less than the {len(data.test)} test images.")
        if models["gan"].get("clusters") is not None:
            raise UserError("gan: must be trained without clusters: choose one made by experiment=gan_plain.")

    def __call__(
        self, folder: Path, data: ImageData, scorer: fidelity.Scorer, autoencoder: Autoencoder, gan: GAN, cgan: GAN
    ) -> fidelity.Metrics:
        """Measures the models, on the scorer's device.

        Raises:
            UserError: the GAN never shows some digit.
        """
        settings = self.settings
        val, test, training = (images.to(autoencoder.device) for images in (data.val, data.test, data.train))
        encoded, sampled = encoded_images(autoencoder, val), sampled_latents(gan, len(val), scorer, settings.seed)
        found = interpolators(autoencoder, encoded, gan, sampled, cgan)
        measured = measure(found, {"autoencoder": encoded, "GAN": sampled}, scorer, test, training, settings)
        verdicts = claims.judge(measured)
        tables = [_table(measured), _table_of_pairs(measured), verdict_table(verdicts)]
        figures = _strips(found, settings) | {
            "along": _along(measured, settings.steps),
            "beside": _samples(to_images(val.images), encoded, sampled, cgan, settings.seed),
        }
        self.publish(folder, "answer", "\n".join([f"{claims.answer(measured, verdicts)}\n", *tables]), figures)
        return _metrics(measured)


def _are_two_digits(pair: Any) -> bool:
    are_digits = isinstance(pair, Sequence) and all(type(digit) is int and 0 <= digit < NUM_CLASSES for digit in pair)
    return are_digits and len(pair) == 2 and pair[0] != pair[1]


def _table(measured: Measurements) -> str:
    """Metrics of the midpoints and of whole paths, a row per interpolator."""
    rows = []
    for name, paths in measured.paths.items():
        metrics = {metric: paths.midpoint(metric).mean().item() for metric in paths.by_image}
        metrics |= {metric: values.mean().item() for metric, values in paths.by_path.items()}
        metrics |= {"FID": paths.midpoint_fid, "FID_of_starts": paths.start_fid}
        rows.append([name, *(form.format(metrics[metric]) for metric, form in COLUMNS.items())])
    floor = measured.floor
    rows.append([REAL, *(form.format(floor[metric]) if metric in floor else "" for metric, form in COLUMNS.items())])
    return markdown(("midpoint", *(metric.replace("_", " ") for metric in COLUMNS)), rows)


def _table_of_pairs(measured: Measurements) -> str:
    """The share of legible midpoints between two digits, a row per interpolator."""
    rows = [
        [name, *(f"{midpoints.float().mean().item():.1%}" for midpoints in by_pair.values())]
        for name, by_pair in measured.legible_midpoints.items()
    ]
    pairs = next(iter(measured.legible_midpoints.values()))
    return markdown(("legible midpoints", *(f"{first} to {second}" for first, second in pairs)), rows)


def _metrics(measured: Measurements) -> fidelity.Metrics:
    metrics: fidelity.Metrics = {"floor/midpoint_fid": measured.floor["FID"]}
    for name, paths in measured.paths.items():
        metrics |= {f"{name}/start_fid": paths.start_fid, f"{name}/midpoint_fid": paths.midpoint_fid}
        for metric in paths.by_image:
            metrics[f"{name}/{metric}_ends"] = paths.ends(metric).mean().item()
            metrics[f"{name}/{metric}_middle"] = paths.midpoint(metric).mean().item()
        metrics |= {f"{name}/{metric}": values.mean().item() for metric, values in paths.by_path.items()}
    for name, by_classifier in measured.separability.items():
        metrics |= {f"{name}/separability_{key}": hits.float().mean().item() for key, hits in by_classifier.items()}
    for name, by_pair in measured.legible_midpoints.items():
        metrics |= {f"{name}/legible_{a}_{b}": midpoints.float().mean().item() for (a, b), midpoints in by_pair.items()}
    metrics |= {f"{name}/novelty": distances.mean().item() for name, distances in measured.novelty.items()}
    return metrics | {f"{name}/diversity": ratio for name, ratio in measured.diversity.items()}


def _strips(found: Mapping[str, Interpolator], settings: Settings) -> dict[str, plots.Figure]:
    """Interpolations between each pair of digits, a row per interpolator."""
    steps = settings.steps
    shares = [f"{step / (steps - 1):.0%}" for step in range(steps)]
    strips = {}
    for digits in settings.digits:
        first, second = (torch.tensor([digit]) for digit in digits)
        rows = [way.interpolate(first, second, steps, settings.seed).flatten(0, 1) for way in found.values()]
        title = f"From {digits[0]} to {digits[1]}, by the share of the path"
        strips[f"{digits[0]}_to_{digits[1]}"] = plots.grid(torch.cat(rows), steps, title, list(found), shares)
    return strips


def _along(measured: Measurements, steps: int) -> plots.Figure:
    """The mean of each metric at each step."""
    panels = {
        axis: {name: paths.by_image[metric].mean(dim=1).tolist() for name, paths in measured.paths.items()}
        for metric, axis in AXES.items()
    }
    title = "From one digit to another: means over all pairs"
    return plots.charts(torch.linspace(0, 1, steps).tolist(), panels, title, "share of the path")


def _samples(
    originals: Tensor, encoded: LabelledLatents, sampled: LabelledLatents, cgan: GAN, seed: int
) -> plots.Figure:
    """Real images, the autoencoder's reconstructions, and samples of both GANs, a column per digit."""
    at = [int((encoded.digits == digit).nonzero()[0]) for digit in range(NUM_CLASSES)]
    shown = [(sampled.digits == digit).nonzero().flatten() for digit in range(NUM_CLASSES)]
    samples = torch.stack([sampled.images[found[0]] if len(found) else sampled.images[0] * 0 for found in shown])
    rows = torch.cat([originals[at], encoded.images[at], samples, cgan.sample(count=NUM_CLASSES, seed=seed)])
    names = ("original", "restored", "GAN", "cGAN")
    title = "Unseen images, the autoencoder's reconstructions, and samples of the GANs"
    return plots.grid(rows, NUM_CLASSES, title, names, "0123456789")
