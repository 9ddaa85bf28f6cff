"""A study that compares an autoencoder, as a generator, with a GAN."""

from collections.abc import Sequence
from pathlib import Path

import torch

from mnist_gen.autoencoder import Autoencoder
from mnist_gen.autoencoder.mixture import LatentMixture
from mnist_gen.data.mnist import ImageData, to_images
from mnist_gen.errors import UserError
from mnist_gen.evaluation import fidelity
from mnist_gen.evaluation.metrics import METRICS, Samples, measure
from mnist_gen.evaluation.study import Study
from mnist_gen.gan.evaluation import reference
from mnist_gen.gan.gan import GAN
from mnist_gen.networks.classifiers import Scorer
from mnist_gen.runs import plots
from mnist_gen.runs.tables import markdown

COLUMNS = ("fid", "density", "coverage", "rarest_digit", "commonest_digit", "memorised")
SHOWN = 10  # samples of each generator in the figure


class Comparison(Study):
    """Compares samples of an unconditional GAN and of an autoencoder whose latents come from Gaussians.

    Each mixture of `components` Gaussians is fitted to as many `latents` of training images, and `samples` of each
    generator are compared with the test images. Writes comparison.md, which it also prints, figures/samples.png and
    TensorBoard events.
    """

    parts = ("autoencoder", "gan")

    def __init__(self, samples: int, latents: int, components: Sequence[int], seed: int) -> None:
        if max(components) > latents:
            raise UserError(f"study.components: {max(components)} must be at most study.latents={latents}.")
        self.samples, self.latents, self.components, self.seed = samples, latents, components, seed

    def __call__(
        self, folder: Path, data: ImageData, scorer: Scorer, autoencoder: Autoencoder, gan: GAN
    ) -> fidelity.Metrics:
        device, random = autoencoder.device, torch.Generator().manual_seed(self.seed)
        training, real = data.train.to(device), reference(scorer, data.test.to(device))
        encoded, generated = to_images(training.drawn(self.latents, random).images), {}
        for count in self.components:
            mixture = LatentMixture(autoencoder, encoded, count, self.seed)
            generated[f"autoencoder, {count} Gaussian{'s' * (count > 1)}"] = mixture.sample(self.samples, self.seed)
        generated["GAN"] = gan.sample(count=self.samples, seed=self.seed)
        generated["real images"] = to_images(training.drawn(self.samples, random).images)
        limit = fidelity.memorisation_limit(to_images(data.val.images.to(device)), training.images)
        metrics = {}
        for name, images in generated.items():
            unseen = real.images if name == "real images" else images  # the real images are training images
            metrics[name] = measure(Samples(images, None, scorer, real), validation=True)
            metrics[name]["memorised"] = fidelity.memorised(unseen, training.images, limit)
        rows = [[name, *(f"{values[column]:.3f}" for column in COLUMNS)] for name, values in metrics.items()]
        table = markdown(("generator", *(METRICS[column].words for column in COLUMNS)), rows)
        shown = torch.cat([images[:SHOWN] for images in generated.values()])
        figure = plots.grid(shown, SHOWN, "Samples of each generator", list(generated))
        self.publish(folder, "comparison", table, {"samples": figure})
        slugs = {name: name.replace(",", "").replace(" ", "_") for name in metrics}
        return {f"{slugs[name]}/{metric}": value for name, of in metrics.items() for metric, value in of.items()}
