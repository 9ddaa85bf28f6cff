"""Figures for a sweep over GANs: losses against image quality, label positions, and samples of each setting."""

import statistics
from collections.abc import Callable, Sequence
from functools import partial

import torch

from mnist_gen.data import NUM_CLASSES
from mnist_gen.gan.claims import ACTIVATION, CONCAT, LABEL, LAST, GANJob, common_values, pairs, rank_correlations
from mnist_gen.gan.gan import GAN
from mnist_gen.runs import checkpoint, layout, plots
from mnist_gen.training.trainer import model_of

LOSSES = {"train/loss_g": "the generator's loss", "train/loss_d": "the discriminator's loss"}
METRICS = {"val/fid": "FID", "val/class_accuracy": "class accuracy"}
DECODERS = {"Decoder": "autoencoder's decoder", "PixelShuffleDecoder": "pixel shuffle"}  # in words, by class
LAYERS = {"sigmoid": "sigmoid", "conv_tanh": "convolution and tanh"}  # last ones
SAMPLES = 25  # of one digit
Load = Callable[[GANJob], GAN]

DIGITS = (0, 1)  # the digits that the student report shows


def pictures(jobs: Sequence[GANJob], trusted: Sequence[str] = ()) -> dict[str, plots.Figure]:
    """Figures by file name: one for each metric, and some for each adversarial loss.

    Checkpoints may also name classes of `trusted` packages.
    """
    load = partial(_model, trusted)
    figures = {
        f"losses_and_{name.lower().replace(' ', '_')}": _losses(jobs, key) for key, name in METRICS.items() if jobs
    }
    for loss in sorted({job.loss for job in jobs}):
        conditional = [job for job in jobs if job.loss == loss and job.conditional]
        unconditional = [job for job in jobs if job.loss == loss and not job.conditional]
        if pair := min(pairs(conditional, CONCAT, "before", "after"), key=_distance_from_report, default=None):
            figures[f"before_and_after_{loss.lower()}"] = _before_and_after(*pair, load)
        if conditional:
            figures[f"digits_{loss.lower()}"] = _digits(loss, conditional, load)
        if unconditional:
            figures[f"samples_{loss.lower()}"] = _samples(loss, unconditional, load)
    return figures


def _losses(jobs: Sequence[GANJob], metric: str) -> plots.Figure:
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


def _distance_from_report(pair: tuple[GANJob, GANJob]) -> tuple[bool, bool, int]:
    """Sorts pairs: first the label and activation of the student report's figure, then the lowest seed."""
    job, _ = pair
    return job.setting[LABEL] != "embedding 20", job.setting[ACTIVATION] != "relu", job.seed


def _digits(loss: str, jobs: Sequence[GANJob], load: Load) -> plots.Figure:
    rows = _first_seeds(jobs, lambda job: ", ".join(job.setting[key] for key in (LABEL, CONCAT, ACTIVATION)))
    images = []
    for gan in map(load, rows.values()):
        latent = gan.typical_first(NUM_CLASSES, seed=0)[:1]
        images.append(gan.generate(latent.repeat(NUM_CLASSES, 1), torch.arange(NUM_CLASSES)))
    title = f"{loss}: digits 0 to 9 from one latent"
    return plots.grid(torch.cat(images), NUM_CLASSES, title, list(rows), "0123456789")


def _samples(loss: str, jobs: Sequence[GANJob], load: Load) -> plots.Figure:
    rows = _first_seeds(jobs, lambda job: f"{job.setting[LABEL]}: {_generator(job)}".removeprefix("no labels: "))
    images = [load(job).sample(count=NUM_CLASSES) for job in rows.values()]
    return plots.grid(torch.cat(images), NUM_CLASSES, f"{loss}: samples of unconditional GANs", list(rows))


def _generator(job: GANJob) -> str:
    """What makes a generator's images: an autoencoder, or a decoder with its start and last layers."""
    decoder = job.setting.get("model.generator.decoder._target_")
    if decoder is None:
        return "in an autoencoder's latent space"
    name = DECODERS.get(decoder.rpartition(".")[2], "own decoder")
    start = job.setting.get("model.generator.start", "").replace("_", " and ")
    return ", ".join(filter(None, (name, start, LAYERS.get(job.setting.get(LAST, ""), ""))))


def _first_seeds(jobs: Sequence[GANJob], name: Callable[[GANJob], str]) -> dict[str, GANJob]:
    """For each name the job with the lowest seed."""
    return {name(job): job for job in sorted(jobs, key=lambda job: -job.seed)}


def _before_and_after(before: GANJob, after: GANJob, load: Load) -> plots.Figure:
    models = {"before": load(before), "after": load(after)}
    grids = {f"{digit}, {name}": gan.sample(digit, SAMPLES) for digit in DIGITS for name, gan in models.items()}
    setting = f"{before.setting[LABEL]}, {before.setting[ACTIVATION]}"
    title = f"{before.loss}, {setting}: the label joins before or after the decoder"
    return plots.side_by_side(grids, 5, title)


def _model(trusted: Sequence[str], job: GANJob) -> GAN:
    return model_of(checkpoint.load(layout.checkpoint_of(job.folder), trusted), GAN)
