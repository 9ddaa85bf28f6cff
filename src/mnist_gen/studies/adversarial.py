"""Pictures of a sweep over conditional GANs: what losses say about images, and where a label joins."""

from collections.abc import Sequence

from mnist_gen import checkpoint, figures
from mnist_gen.claims.adversarial import Job, both, pairs
from mnist_gen.gan import GAN

SAME_DIGIT = 25
DIGITS = (0, 1)  # those that the report shows


def pictures(jobs: Sequence[Job]) -> dict[str, figures.Figure]:
    """Losses against the images' figures, over all epochs; and of each recipe two digits made in both ways."""
    recipes = {loss: [job for job in jobs if job.loss == loss] for loss in sorted({job.loss for job in jobs})}
    drawn = {}
    for name, figure in (("fid", "val/fid"), ("class_accuracy", "val/class_accuracy")) if jobs else ():
        charts = {
            f"{recipe}: {loss}": _points(alike, loss, figure)
            for recipe, alike in recipes.items()
            for loss in ("train/loss_g", "train/loss_d")
        }
        title = f"Losses against {figure}, a point an epoch; the last of each run in another colour"
        drawn[f"losses_and_{name}"] = figures.scatter(charts, title, "loss", figure, logarithmic=name == "fid")
    for recipe, alike in recipes.items():
        pair = min(
            pairs(alike, "concat", "before", "after"),
            key=lambda pair: (pair[0].label != "embedding 20", pair[0].activation, pair[0].setting["seed"]),
            default=None,
        )
        if pair:
            drawn[f"before_and_after_{recipe.lower()}"] = _before_and_after(*pair)
    return drawn


def _points(jobs: Sequence[Job], loss: str, figure: str) -> dict[str, tuple[list[float], list[float]]]:
    curves = [both(job, loss, figure) for job in jobs]
    return {
        "an epoch": ([x for xs, _ in curves for x in xs], [y for _, ys in curves for y in ys]),
        "the last": ([xs[-1] for xs, _ in curves if xs], [ys[-1] for _, ys in curves if ys]),
    }


def _before_and_after(before: Job, after: Job) -> figures.Figure:
    """Samples from the same latents."""
    models: dict[str, GAN] = {}
    for name, job in (("before", before), ("after", after)):
        model = checkpoint.load(checkpoint.of_run(job.folder))
        assert isinstance(model, GAN)
        models[name] = model
    grids = {f"{digit}, {name}": gan.sample(digit, SAME_DIGIT) for digit in DIGITS for name, gan in models.items()}
    title = f"{before.loss}, {before.label}: the label joins before the decoder, or after it"
    return figures.side_by_side(grids, 5, title)
