"""A study that compares an autoencoder, with latents drawn from Gaussians, to a GAN."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from mnist_gen import plots
from mnist_gen.autoencoder import Autoencoder
from mnist_gen.autoencoder.mixture import LatentMixture
from mnist_gen.data.mnist import ImageData, to_images
from mnist_gen.errors import UserError, check_at_least
from mnist_gen.evaluation import fidelity
from mnist_gen.evaluation.metrics import RealImages, Samples, measure
from mnist_gen.evaluation.study import Study
from mnist_gen.gan.gan import GAN
from mnist_gen.networks.classifiers import Scorer
from mnist_gen.runs.tables import markdown

COLUMNS = ("fid", "density", "coverage", "rarest_digit", "commonest_digit", "memorised")
SHOWN = 10  # samples of each generator in the figure


class Comparison(Study):
    """Compares samples of an unconditional GAN and of an autoencoder whose latents come from Gaussians.

    The Gaussians are fitted to the latents of training images, and the samples are compared with the test images.
    Writes comparison.md, which it also prints, figures/samples.png and TensorBoard events.

    Args:
        samples: of each generator.
        latents: number of training images whose latents the Gaussians are fitted to.
        components: numbers of Gaussians to try.
        seed: of all random choices.

    Raises:
        UserError: a number is out of range.
    """

    parts = ("autoencoder", "gan")

    def __init__(self, samples: int, latents: int, components: Sequence[int], seed: int) -> None:
        check_at_least(fidelity.NEIGHBOURS + 1, "study", samples=samples)
        for count in components:
            if not isinstance(count, int) or not 1 <= count <= latents:
                raise UserError(f"study.components: {count} must be a whole number from 1 to study.latents={latents}.")
        self.samples, self.latents, self.components, self.seed = samples, latents, components, seed

    def __call__(
        self, folder: Path, data: ImageData, scorer: Scorer, autoencoder: Autoencoder, gan: GAN
    ) -> fidelity.Metrics:
        """Samples both models on the scorer's device, measures the samples and writes the files."""
        device, random = autoencoder.device, torch.Generator().manual_seed(self.seed)
        training, test = data.train.to(device), to_images(data.test.images.to(device))
        generated = self._sampled(autoencoder, to_images(training.drawn(self.latents, random).images))
        generated["GAN"] = gan.sample(count=self.samples, seed=self.seed)
        generated["real images"] = to_images(training.drawn(self.samples, random).images)
        real = RealImages(test, data.test.labels.to(device), fidelity.features_and_digits(scorer, test)[0])
        limit = fidelity.memorisation_limit(to_images(data.val.images.to(device)), training.images)
        metrics = {}
        for name, images in generated.items():
            unseen = test if name == "real images" else images  # the real images are training images
            metrics[name] = measure(Samples(images, None, scorer, real), validation=True)
            metrics[name]["memorised"] = fidelity.memorised(unseen, training.images, limit)
        self._write(folder, metrics, generated)
        slugs = {name: name.replace(",", "").replace(" ", "_") for name in metrics}
        return {f"{slugs[name]}/{metric}": value for name, of in metrics.items() for metric, value in of.items()}

    def _sampled(self, autoencoder: Autoencoder, images: Tensor) -> dict[str, Tensor]:
        """Samples of the autoencoder, for each number of Gaussians fitted to its latents of `images`."""
        mixtures = {count: LatentMixture(autoencoder, images, count, self.seed) for count in self.components}
        return {
            f"autoencoder, {count} Gaussian{'s' * (count > 1)}": mixture.sample(self.samples, self.seed)
            for count, mixture in mixtures.items()
        }

    def _write(self, folder: Path, metrics: dict[str, fidelity.Metrics], generated: dict[str, Tensor]) -> None:
        rows = [[name, *(f"{values[column]:.3f}" for column in COLUMNS)] for name, values in metrics.items()]
        table = markdown(("generator", *(column.replace("_", " ") for column in COLUMNS)), rows)
        shown = torch.cat([images[:SHOWN] for images in generated.values()])
        figure = plots.grid(shown, SHOWN, "Samples of each generator", list(generated))
        self.publish(folder, "comparison", table, {"samples": figure})
