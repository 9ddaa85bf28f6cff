"""The report's question: which interpolation is better, in the autoencoder's space or the GAN's, and why?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from mnist_gen import plots
from mnist_gen.autoencoder import Autoencoder
from mnist_gen.data.mnist import NUM_CLASSES, ImageData, to_images
from mnist_gen.errors import UserError
from mnist_gen.evaluation import fidelity
from mnist_gen.evaluation.study import Study
from mnist_gen.evaluation.verdicts import markdown
from mnist_gen.gan import GAN
from mnist_gen.interpolation import claims
from mnist_gen.interpolation.measurements import PARTS, Findings, Plan, measure
from mnist_gen.interpolation.paths import Known, Walker, drawn, encoded, walkers
from mnist_gen.runs.tables import markdown as table_of
from mnist_gen.system import files

COLUMNS = {  # of the table, and how a figure is written
    "FID": "{:.2f}", "FID_of_starts": "{:.2f}", "confidence": "{:.2f}", "legible": "{:.1%}", "third_digit": "{:.1%}",
    "entropy": "{:.2f}", "sharpness": "{:.2f}", "inside": "{:.1%}", "density": "{:.2f}", "nearest": "{:.2f}",
    "detour": "{:.2f}", "jump": "{:.2f}",
}  # fmt: skip
AXES = {  # of the charts
    "confidence": "the scorer's confidence", "entropy": "its entropy in nats", "legible": "share that is legible",
    "third_digit": "share that shows a third digit", "sharpness": "sharpness",
    "nearest": "distance to a training image", "inside": "share inside the real manifold", "density": "density",
}  # fmt: skip


class Interpolation(Study):
    """Walks between digits: pictures of some pairs, figures over many, and the answer to the report's question.

    The autoencoder walks from code to code of validation images, the GAN from latent to latent whose images the scorer
    reads as the digits, a conditional GAN from label to label. Leaves figures/*.png, TensorBoard events and answer.md,
    which is printed too.

    Args:
        pairs: of different digits, the same for each space, and as many for each of `digits`.
        steps: images on a way, both ends included.
        digits: pairs that are drawn.
        neighbours: k of density, of the real manifold, and of the nearest neighbours that tell a point's digit.
        seed: of all choices.

    Raises:
        UserError: a number or a pair of digits is impossible.
    """

    parts = ("autoencoder", "gan", "cgan")

    def __init__(self, pairs: int, steps: int, digits: Sequence[Sequence[int]], neighbours: int, seed: int) -> None:
        if pairs < 2 * PARTS:
            raise UserError(f"study.pairs={pairs}: must be at least {2 * PARTS}.")
        if steps < 3 or steps % 2 == 0:
            raise UserError(f"study.steps={steps}: must be odd and at least 3, so that a way has a middle.")
        for pair in digits:
            if not _are_two_digits(pair):
                raise UserError(
                    f"study.digits: {pair} must be two different digits from 0 to {NUM_CLASSES - 1}, "
                    "in a list of such pairs, [[1,0]]."
                )
        if neighbours < 1:
            raise UserError(f"study.neighbours={neighbours}: must be at least 1.")
        self.plan = Plan(pairs, steps, [(first, second) for first, second in digits], neighbours, seed)

    def check(self, data: ImageData, models: Mapping[str, DictConfig]) -> None:
        """As `Study.check`: no more real images than neighbours, or a GAN told groups, which tell digits apart."""
        if len(data.test) <= self.plan.neighbours:
            raise UserError(
                f"study.neighbours={self.plan.neighbours}: must be less than the {len(data.test)} test images."
            )
        if models["gan"].get("clusters") is not None:
            raise UserError("gan: it was told groups of alike images: choose one made by experiment=gan_plain.")

    def __call__(
        self, folder: Path, data: ImageData, scorer: fidelity.Scorer, autoencoder: Autoencoder, gan: GAN, cgan: GAN
    ) -> fidelity.Metrics:
        """Looks at the models, on the scorer's device.

        Raises:
            UserError: the GAN makes no picture of some digit.
        """
        device, plan = autoencoder.device, self.plan
        val, test, training = (images.to(device) for images in (data.val, data.test, data.train))
        codes, latents = encoded(autoencoder, val), drawn(gan, len(val), scorer, plan.seed)
        found = walkers(autoencoder, codes, gan, latents, cgan)
        findings = measure(found, {"autoencoder": codes, "GAN": latents}, scorer, test, training, plan)
        verdicts = claims.judge(findings)
        tables = [table(findings), _table_of_chosen(findings), markdown(verdicts)]
        text = "\n".join([f"{claims.answer(findings, verdicts)}\n", *tables])
        files.write(folder / "answer.md", text)
        print(text)
        pictures = _strips(found, plan) | {
            "along": _along(findings, plan.steps),
            "beside": _beside(to_images(val.images), codes, latents, cgan, plan.seed),
        }
        with SummaryWriter(str(folder)) as writer:
            writer.add_text("answer", text)
            for name, picture in pictures.items():
                plots.save(picture, folder / "figures" / f"{name}.png")
                writer.add_figure(name, picture)
        return _metrics(findings)


def _are_two_digits(pair: Any) -> bool:
    alike = isinstance(pair, Sequence) and all(type(digit) is int and 0 <= digit < NUM_CLASSES for digit in pair)
    return alike and len(pair) == 2 and len({*pair}) == 2


def table(findings: Findings) -> str:
    """The walks' figures, those of images in the middles, a row a space."""
    rows = []
    for name, walk in findings.walks.items():
        found = {figure: walk.middle(figure).mean().item() for figure in walk.along}
        found |= {figure: values.mean().item() for figure, values in walk.ways.items()}
        found |= {"FID": walk.midpoint_fid, "FID_of_starts": walk.start_fid}
        rows.append([name, *(form.format(found[figure]) for figure, form in COLUMNS.items())])
    known = findings.floor
    floor = ["real images", *(form.format(known[name]) if name in known else "" for name, form in COLUMNS.items())]
    return table_of(("middle of the way", *(figure.replace("_", " ") for figure in COLUMNS)), [*rows, floor])


def _table_of_chosen(findings: Findings) -> str:
    """How many middles are legible between two digits, a row a space."""
    rows = [
        [name, *(f"{middles.float().mean().item():.1%}" for middles in found.values())]
        for name, found in findings.chosen.items()
    ]
    pairs = next(iter(findings.chosen.values()))
    return table_of(("legible in the middle", *(f"{one} to {other}" for one, other in pairs)), rows)


def _metrics(findings: Findings) -> fidelity.Metrics:
    metrics: fidelity.Metrics = {"floor/midpoint_fid": findings.floor["FID"]}
    for name, walk in findings.walks.items():
        metrics |= {f"{name}/start_fid": walk.start_fid, f"{name}/midpoint_fid": walk.midpoint_fid}
        for figure in walk.along:
            metrics[f"{name}/{figure}_ends"] = walk.ends(figure).mean().item()
            metrics[f"{name}/{figure}_middle"] = walk.middle(figure).mean().item()
        metrics |= {f"{name}/{figure}": values.mean().item() for figure, values in walk.ways.items()}
    for name, hits in findings.separated.items():
        metrics |= {f"{name}/separability_{reader}": hit.float().mean().item() for reader, hit in hits.items()}
    for name, chosen in findings.chosen.items():
        metrics |= {f"{name}/legible_{one}_{two}": hit.float().mean().item() for (one, two), hit in chosen.items()}
    metrics |= {f"{name}/novelty": distances.mean().item() for name, distances in findings.novelty.items()}
    return metrics | {f"{name}/diversity": ratio for name, ratio in findings.diversity.items()}


def _strips(found: Mapping[str, Walker], plan: Plan) -> dict[str, plots.Figure]:
    strips = {}
    for one, other in plan.digits:
        first, second = torch.tensor([one]), torch.tensor([other])
        walks = [walker.walk(first, second, plan.steps, plan.seed).flatten(0, 1) for walker in found.values()]
        shares = [f"{step / (plan.steps - 1):.0%}" for step in range(plan.steps)]
        title = f"From {one} to {other}, by the share of the way"
        strips[f"{one}_to_{other}"] = plots.grid(torch.cat(walks), plan.steps, title, list(found), shares)
    return strips


def _along(findings: Findings, steps: int) -> plots.Figure:
    panels = {
        axis: {name: walk.along[figure].mean(dim=1).tolist() for name, walk in findings.walks.items()}
        for figure, axis in AXES.items()
    }
    title = "On the way from one digit to another, means over all pairs"
    return plots.charts(torch.linspace(0, 1, steps).tolist(), panels, title, "share of the way")


def _beside(originals: Tensor, codes: Known, latents: Known, cgan: GAN, seed: int) -> plots.Figure:
    """Real images over what the autoencoder makes of them, beside samples of both GANs, a column a digit."""
    at = [int((codes.digits == digit).nonzero()[0]) for digit in range(NUM_CLASSES)]
    shown = [(latents.digits == digit).nonzero().flatten() for digit in range(NUM_CLASSES)]
    samples = torch.stack([latents.images[found[0]] if len(found) else latents.images[0] * 0 for found in shown])
    rows = torch.cat([originals[at], codes.images[at], samples, cgan.sample(count=NUM_CLASSES, seed=seed)])
    names = ("original", "restored", "GAN", "cGAN")
    title = "Images that no model has seen, the autoencoder's, and samples of the GANs"
    return plots.grid(rows, NUM_CLASSES, title, names, "0123456789")
