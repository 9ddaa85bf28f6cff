"""The student report's question: which space interpolates better, the autoencoder's or the GAN's, and why?"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor

from mnist_gen.autoencoder import Autoencoder
from mnist_gen.data import NUM_CLASSES
from mnist_gen.data.mnist import ImageData, ImageSet, to_images
from mnist_gen.errors import UserError, check_odd
from mnist_gen.evaluation import fidelity, verdicts
from mnist_gen.evaluation.study import Study
from mnist_gen.gan import GAN
from mnist_gen.interpolation import claims
from mnist_gen.interpolation.measurements import PathMetrics, Reference, legible, measure_paths, separability
from mnist_gen.interpolation.paths import Interpolator, LabelledLatents, encoded_images, interpolators, sampled_latents
from mnist_gen.runs import plots
from mnist_gen.runs.tables import markdown

AXES = {  # of the charts, by metric of images
    "confidence": "the scorer's confidence", "legible": "legible share",
    "third_digit": "share that shows a third digit", "entropy": "the scorer's entropy in nats",
    "sharpness": "sharpness", "inside": "share inside the real manifold", "density": "density",
    "nearest": "distance to a training image",
}  # fmt: skip
COLUMNS = {"midpoint_fid": "FID", "start_fid": "FID of starts"}  # of the table, by metric
COLUMNS |= {f"{name}_middle": name.replace("_", " ") for name in AXES} | {"detour": "detour", "jump": "jump"}
SHARES = ("legible", "third_digit", "inside")  # metrics in per cent
FLOOR, REAL = "floor", "real images"


class Interpolation(Study):
    """Interpolates between digits: strips of some pairs, metrics over many, and an answer to the student report.

    The autoencoder interpolates between latents of validation images, the GAN between latents whose digits the scorer
    reads, and the conditional GAN between labels. Writes and prints answer.md, and leaves figures and TensorBoard
    events. conf/study/interpolation.yaml explains the options.
    """

    parts = ("autoencoder", "gan", "cgan")

    def __init__(self, pairs: int, steps: int, digits: Sequence[Sequence[int]], neighbours: int, seed: int) -> None:
        check_odd("study.steps", steps, "so that a path has a midpoint")
        if any(first == second for first, second in digits):
            raise UserError(f"study.digits={digits}: each pair must be two different digits.")
        self.pairs, self.steps, self.digits, self.neighbours, self.seed = pairs, steps, digits, neighbours, seed

    def check(self, data: ImageData, models: Mapping[str, DictConfig]) -> None:
        """Before any model is trained: needs more test images than neighbours, and a GAN without clusters."""
        if len(data.test) <= self.neighbours:
            raise UserError(f"study.neighbours={self.neighbours}: must be less than the {len(data.test)} test images.")
        if models["gan"].get("pseudo_labels") is not None:
            raise UserError("gan: must be trained without clusters: choose one made by experiment=gan_plain.")

    def __call__(
        self, folder: Path, data: ImageData, scorer: fidelity.Scorer, autoencoder: Autoencoder, gan: GAN, cgan: GAN
    ) -> fidelity.Metrics:
        val, test, train = (images.to(autoencoder.device) for images in (data.val, data.test, data.train))
        encoded, sampled = encoded_images(autoencoder, val), sampled_latents(gan, len(val), scorer, self.seed)
        found = interpolators(autoencoder, encoded, gan, sampled, cgan)
        paths, values, metrics = self._measure(found, {"autoencoder": encoded, "GAN": sampled}, scorer, test, train)
        judged = list(claims.judge(paths, values, metrics))
        between = {f"legible_{first}_{second}": f"{first} to {second}" for first, second in self.digits}
        tables = [
            _table("midpoint", metrics, [*found, FLOOR], COLUMNS),
            _table("legible midpoints", metrics, found, between),
            verdicts.markdown(judged),
        ]
        labelled = cgan.sample(count=NUM_CLASSES, seed=self.seed)
        figures = {f"{first}_to_{second}": self._strips(found, first, second) for first, second in self.digits}
        figures |= {"along": self._along(paths), "beside": _beside(to_images(val.images), encoded, sampled, labelled)}
        self.publish(folder, "answer", "\n".join([f"{claims.answer(paths, metrics, judged)}\n", *tables]), figures)
        return metrics

    @torch.no_grad()
    def _measure(
        self,
        found: Mapping[str, Interpolator],
        models: Mapping[str, LabelledLatents],
        scorer: fidelity.Scorer,
        unseen: ImageSet,
        training: ImageSet,
    ) -> tuple[dict[str, PathMetrics], dict[str, Tensor], fidelity.Metrics]:
        """Metrics of paths by interpolator; values (N,) by the metric that is their mean; and all metrics."""
        random, real = torch.Generator().manual_seed(self.seed), to_images(unseen.images)
        reference = Reference(training.images, fidelity.features_and_digits(scorer, real)[0], self.neighbours)
        first = torch.randint(NUM_CLASSES, (self.pairs,), generator=random)
        second = (first + torch.randint(1, NUM_CLASSES, (self.pairs,), generator=random)) % NUM_CLASSES
        paths, values = dict[str, PathMetrics](), dict[str, Tensor]()
        for name, interpolator in found.items():
            images = interpolator.interpolate(first, second, self.steps, self.seed)
            paths[name] = measure_paths(scorer, images, first, second, reference)
            for a, b in self.digits:
                start, end = torch.full((self.pairs,), a), torch.full((self.pairs,), b)
                midpoints = interpolator.interpolate(start, end, 3, self.seed)[1]
                values[f"{name}/legible_{a}_{b}"] = legible(scorer, midpoints).float()
        floor, _ = fidelity.features_and_digits(scorer, to_images(training.drawn(self.pairs, random).images))
        metrics = {f"{FLOOR}/midpoint_fid": fidelity.fid(floor, reference.features)}
        metrics[f"{FLOOR}/sharpness_middle"] = fidelity.sharpness(real).mean().item()
        for name, known in models.items():
            hits = separability(known.latents, known.digits, self.neighbours, self.seed)
            values |= {f"{name}/separability_{key}": right.float() for key, right in hits.items()}
            diversity = fidelity.diversity(known.images, known.digits, real, unseen.labels)
            metrics[f"{name}/diversity"] = diversity["diversity"]
        for name, images in ({name: known.images for name, known in models.items()} | {REAL: real}).items():
            shown = images[: self.pairs]
            read = shown[legible(scorer, shown)]  # illegible images are trivially novel
            if len(read) > 1:
                values[f"{name}/novelty"] = fidelity.nearest_distance(read, training.images)
        for name, measured in paths.items():
            metrics |= {f"{name}/{metric}": value for metric, value in measured.means().items()}
        return paths, values, metrics | {name: value.mean().item() for name, value in values.items()}

    def _strips(self, found: Mapping[str, Interpolator], first: int, second: int) -> plots.Figure:
        start, end = torch.tensor([first]), torch.tensor([second])
        rows = [interpolator.interpolate(start, end, self.steps, self.seed) for interpolator in found.values()]
        title = f"From {first} to {second}, by the share of the path"
        shares = [f"{step / (self.steps - 1):.0%}" for step in range(self.steps)]
        return plots.grid(torch.cat(rows).flatten(0, 1), self.steps, title, list(found), shares)

    def _along(self, paths: Mapping[str, PathMetrics]) -> plots.Figure:
        panels = {
            axis: {name: measured.by_image[metric].mean(dim=1).tolist() for name, measured in paths.items()}
            for metric, axis in AXES.items()
        }
        title = "From one digit to another: means over all pairs"
        return plots.charts(torch.linspace(0, 1, self.steps).tolist(), panels, title, "share of the path")


def _table(head: str, metrics: fidelity.Metrics, names: Collection[str], columns: Mapping[str, str]) -> str:
    """A row per interpolator, and a column per metric."""

    def cell(name: str, metric: str) -> str:
        value = metrics.get(f"{name}/{metric}")
        if value is None:
            return ""
        return f"{value:.1%}" if metric.startswith(SHARES) else f"{value:.2f}"

    rows = [[REAL if name == FLOOR else name, *(cell(name, metric) for metric in columns)] for name in names]
    return markdown((head, *columns.values()), rows)


def _beside(originals: Tensor, encoded: LabelledLatents, sampled: LabelledLatents, labelled: Tensor) -> plots.Figure:
    of_each, generated = (
        [known.digits.tolist().index(digit) for digit in range(NUM_CLASSES)] for known in (encoded, sampled)
    )
    rows = torch.cat([originals[of_each], encoded.images[of_each], sampled.images[generated], labelled])
    names = ("original", "restored", "GAN", "cGAN")
    title = "Unseen images, the autoencoder's reconstructions, and samples of the GANs"
    return plots.grid(rows, NUM_CLASSES, title, names, "0123456789")
