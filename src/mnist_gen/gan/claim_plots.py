"""Pictures of a sweep over GANs: what losses say about images, where a label joins, and what each setting makes."""

import statistics
from collections.abc import Callable, Sequence

import torch

from mnist_gen import plots
from mnist_gen.data.mnist import NUM_CLASSES
from mnist_gen.gan.claims import Job, both, pairs, rank_correlations
from mnist_gen.gan.gan import GAN
from mnist_gen.runs import checkpoint, layout

LOSSES = {"train/loss_g": "the generator's loss", "train/loss_d": "the discriminator's loss"}
FIGURES = {"val/fid": "FID", "val/class_accuracy": "class accuracy"}  # of validation images
SAME_DIGIT = 25
DIGITS = (0, 1)  # those that the report shows


def pictures(jobs: Sequence[Job]) -> dict[str, plots.Figure]:
    """Losses against the images' figures, over all epochs; by each recipe two digits made in both ways, and all ten.

    Of GANs that take no digits, samples.
    """
    recipes = {loss: [job for job in jobs if job.loss == loss] for loss in sorted({job.loss for job in jobs})}
    drawn = {}
    for figure, name in FIGURES.items() if jobs else ():
        charts = {
            f"{recipe}: {words}\n{_correlation(alike, loss, figure)}": _points(alike, loss, figure)
            for recipe, alike in recipes.items()
            for loss, words in LOSSES.items()
        }
        title = f"Losses against {name} in validation, a point an epoch, and their rank correlation (median over runs)"
        picture = plots.scatter(charts, title, "loss", name, logarithmic=name == "FID", columns=len(LOSSES))
        drawn[f"losses_and_{name.lower().replace(' ', '_')}"] = picture
    for recipe, alike in recipes.items():
        conditional = [job for job in alike if job.conditional]
        if pair := min(pairs(conditional, "concat", "before", "after"), key=_as_in_the_report, default=None):
            drawn[f"before_and_after_{recipe.lower()}"] = _before_and_after(*pair)
        if conditional:
            drawn[f"digits_{recipe.lower()}"] = _digits(recipe, conditional)
        if others := [job for job in alike if not job.conditional]:
            drawn[f"samples_{recipe.lower()}"] = _samples(recipe, others)
    return drawn


def _as_in_the_report(pair: tuple[Job, Job]) -> tuple[bool, bool, int]:
    """First the label and the activation whose pictures it shows, then the lowest seed."""
    job, _ = pair
    return job.label != "embedding 20", job.activation != "relu", int(job.setting["seed"])


def _correlation(jobs: Sequence[Job], loss: str, figure: str) -> str:
    ranks = rank_correlations(jobs, loss, figure)
    return f"rank correlation {statistics.median(ranks):+.2f}" if ranks else ""


def _points(jobs: Sequence[Job], loss: str, figure: str) -> dict[str, tuple[list[float], list[float]]]:
    curves = [both(job, loss, figure) for job in jobs]
    return {
        "an epoch": ([x for xs, _ in curves for x in xs], [y for _, ys in curves for y in ys]),
        "the last": ([xs[-1] for xs, _ in curves if xs], [ys[-1] for _, ys in curves if ys]),
    }


def _digits(recipe: str, jobs: Sequence[Job]) -> plots.Figure:
    """The digits 0 to 9 by each setting with the lowest seed, a row a setting, all from one latent."""
    rows = _first_seeds(jobs, lambda job: f"{job.label}, {job.concat}, {job.activation}")
    labels = torch.arange(NUM_CLASSES)
    models = [_model(job) for job in rows.values()]
    latents = [gan.latents(1, torch.Generator().manual_seed(0)) for gan in models]
    made = [gan.generate(z.repeat(NUM_CLASSES, 1), labels) for gan, z in zip(models, latents, strict=True)]
    title = f"{recipe}: digits 0 to 9 from one latent"
    return plots.grid(torch.cat(made), NUM_CLASSES, title, list(rows), "0123456789")


def _samples(recipe: str, jobs: Sequence[Job]) -> plots.Figure:
    """The first samples of each generator with the lowest seed, a row a generator."""
    rows = _first_seeds(jobs, lambda job: f"{job.label}: {job.generator}".removeprefix("no labels: "))
    made = [_model(job).sample(count=NUM_CLASSES) for job in rows.values()]
    return plots.grid(torch.cat(made), NUM_CLASSES, f"{recipe}: samples of GANs that take no digit", list(rows))


def _first_seeds(jobs: Sequence[Job], name: Callable[[Job], str]) -> dict[str, Job]:
    """Of jobs with one name the one with the lowest seed."""
    rows: dict[str, Job] = {}
    for job in sorted(jobs, key=lambda job: int(job.setting["seed"])):
        rows.setdefault(name(job), job)
    return rows


def _before_and_after(before: Job, after: Job) -> plots.Figure:
    """Samples from the same latents."""
    models = {"before": _model(before), "after": _model(after)}
    grids = {f"{digit}, {name}": gan.sample(digit, SAME_DIGIT) for digit in DIGITS for name, gan in models.items()}
    title = f"{before.loss}, {before.label}, {before.activation}: the label joins before the decoder, or after it"
    return plots.side_by_side(grids, 5, title)


def _model(job: Job) -> GAN:
    model = checkpoint.load(layout.checkpoint_of(job.folder))
    assert isinstance(model, GAN)
    return model
