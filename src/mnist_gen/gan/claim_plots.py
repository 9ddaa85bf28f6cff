"""Figures for a sweep over GANs: losses against image quality, label positions, and samples of each setting."""

import statistics
from collections.abc import Callable, Sequence

import torch

from mnist_gen import plots
from mnist_gen.data import NUM_CLASSES
from mnist_gen.gan.claims import Job, common_values, pairs, rank_correlations
from mnist_gen.gan.gan import GAN
from mnist_gen.runs import checkpoint, layout

LOSSES = {"train/loss_g": "the generator's loss", "train/loss_d": "the discriminator's loss"}
METRICS = {"val/fid": "FID", "val/class_accuracy": "class accuracy"}
SAMPLES = 25  # of one digit
DIGITS = (0, 1)  # the digits that the student report shows


def pictures(jobs: Sequence[Job]) -> dict[str, plots.Figure]:
    """Figures by file name: one for each metric, and some for each adversarial loss."""
    figures = {
        f"losses_and_{name.lower().replace(' ', '_')}": _losses(jobs, key) for key, name in METRICS.items() if jobs
    }
    for loss in sorted({job.loss for job in jobs}):
        conditional = [job for job in jobs if job.loss == loss and job.conditional]
        unconditional = [job for job in jobs if job.loss == loss and not job.conditional]
        if pair := min(pairs(conditional, "concat", "before", "after"), key=_distance_from_report, default=None):
            figures[f"before_and_after_{loss.lower()}"] = _before_and_after(*pair)
        if conditional:
            figures[f"digits_{loss.lower()}"] = _digits(loss, conditional)
        if unconditional:
            figures[f"samples_{loss.lower()}"] = _samples(loss, unconditional)
    return figures


def _losses(jobs: Sequence[Job], metric: str) -> plots.Figure:
    """Scatter plots of each network's loss against a metric, for each adversarial loss."""
    charts = {}
    for recipe in sorted({job.loss for job in jobs}):
        same_loss = [job for job in jobs if job.loss == recipe]
        for loss, words in LOSSES.items():
            ranks = rank_correlations(same_loss, loss, metric)
            correlation = f"rank correlation {statistics.median(ranks):+.2f}" if ranks else ""
            curves = [common_values(job, loss, metric) for job in same_loss]
            charts[f"{recipe}: {words}\n{correlation}"] = {
                "an epoch": ([x for xs, _ in curves for x in xs], [y for _, ys in curves for y in ys]),
                "the last epoch": ([xs[-1] for xs, _ in curves if xs], [ys[-1] for _, ys in curves if ys]),
            }
    name = METRICS[metric]
    title = f"Losses against validation {name}, one point per epoch, and their rank correlation (median over runs)"
    return plots.scatter(charts, title, "loss", name, logarithmic=name == "FID", columns=len(LOSSES))


def _distance_from_report(pair: tuple[Job, Job]) -> tuple[bool, bool, int]:
    """Sorts pairs: first the label and activation of the student report's figure, then the lowest seed."""
    job, _ = pair
    return job.label != "embedding 20", job.activation != "relu", job.seed


def _digits(loss: str, jobs: Sequence[Job]) -> plots.Figure:
    """The digits 0 to 9 from one latent, one row per setting."""
    rows = _first_seeds(jobs, lambda job: f"{job.label}, {job.concat}, {job.activation}")
    labels = torch.arange(NUM_CLASSES)
    images = []
    for job in rows.values():
        gan = _model(job)
        latent = gan.latents(1, torch.Generator().manual_seed(0))
        images.append(gan.generate(latent.repeat(NUM_CLASSES, 1), labels))
    title = f"{loss}: digits 0 to 9 from one latent"
    return plots.grid(torch.cat(images), NUM_CLASSES, title, list(rows), "0123456789")


def _samples(loss: str, jobs: Sequence[Job]) -> plots.Figure:
    """Samples of unconditional GANs, one row per setting."""
    rows = _first_seeds(jobs, lambda job: f"{job.label}: {job.generator}".removeprefix("no labels: "))
    images = [_model(job).sample(count=NUM_CLASSES) for job in rows.values()]
    return plots.grid(torch.cat(images), NUM_CLASSES, f"{loss}: samples of unconditional GANs", list(rows))


def _first_seeds(jobs: Sequence[Job], name: Callable[[Job], str]) -> dict[str, Job]:
    """For each name the job with the lowest seed."""
    rows: dict[str, Job] = {}
    for job in sorted(jobs, key=lambda job: job.seed):
        rows.setdefault(name(job), job)
    return rows


def _before_and_after(before: Job, after: Job) -> plots.Figure:
    """Samples from equal latents, with the label joining before and after the decoder."""
    models = {"before": _model(before), "after": _model(after)}
    grids = {f"{digit}, {name}": gan.sample(digit, SAMPLES) for digit in DIGITS for name, gan in models.items()}
    title = f"{before.loss}, {before.label}, {before.activation}: the label joins before or after the decoder"
    return plots.side_by_side(grids, 5, title)


def _model(job: Job) -> GAN:
    model = checkpoint.load(layout.checkpoint_of(job.folder))
    assert isinstance(model, GAN)
    return model
