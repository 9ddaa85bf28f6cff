"""The autoencoder as a generator, its codes drawn from Gaussians, beside the GAN."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from mnist_gen import plots
from mnist_gen.autoencoder import Autoencoder
from mnist_gen.autoencoder.mixture import CodeMixture
from mnist_gen.data.mnist import ImageData, to_images
from mnist_gen.errors import UserError
from mnist_gen.evaluation import fidelity
from mnist_gen.evaluation.study import Study
from mnist_gen.gan.gan import GAN
from mnist_gen.runs.tables import markdown
from mnist_gen.system import files

COLUMNS = ("fid", "density", "coverage", "rarest_digit", "commonest_digit", "memorised")
SHOWN = 10  # samples of each generator


class Comparison(Study):
    """Judges samples of an unconditional GAN and of an autoencoder whose codes are drawn from Gaussians.

    The Gaussians are fitted to the codes of training images, and all is judged against the test images. Leaves
    figures/samples.png, TensorBoard events and comparison.md, which is printed too.

    Args:
        samples: of each.
        codes: to which Gaussians are fitted.
        components: Gaussians, for each mixture to try.
        seed: of all choices.

    Raises:
        UserError: a number is impossible.
    """

    parts = ("autoencoder", "gan")

    def __init__(self, samples: int, codes: int, components: Sequence[int], seed: int) -> None:
        if samples <= fidelity.NEIGHBOURS:
            raise UserError(f"study.samples={samples}: must be more than {fidelity.NEIGHBOURS}.")
        for count in components:
            if not isinstance(count, int) or not 1 <= count <= codes:
                raise UserError(f"study.components: {count} must be a whole number from 1 to study.codes={codes}.")
        self.samples, self.codes, self.components, self.seed = samples, codes, components, seed

    def __call__(
        self, folder: Path, data: ImageData, scorer: fidelity.Scorer, autoencoder: Autoencoder, gan: GAN
    ) -> fidelity.Metrics:
        """Looks at the models, on the scorer's device."""
        device, random = autoencoder.device, torch.Generator().manual_seed(self.seed)
        training, test = data.train.to(device), to_images(data.test.images.to(device))
        made = self._sampled(autoencoder, to_images(training.drawn(self.codes, random).images))
        made["GAN"] = gan.sample(count=self.samples, seed=self.seed)
        made["real images"] = to_images(training.drawn(self.samples, random).images)
        features, _ = fidelity.read(scorer, test)
        limit = fidelity.memorisation_limit(to_images(data.val.images.to(device)), training.images)
        found = {}
        for name, images in made.items():
            found[name] = fidelity.glance(scorer, fidelity.Sample(images, None), features)
            looked_at = test if name == "real images" else images  # training images are in the training set
            found[name]["memorised"] = fidelity.memorised(looked_at, training.images, limit)
        rows = [[name, *(f"{metrics[column]:.3f}" for column in COLUMNS)] for name, metrics in found.items()]
        self._show(folder, markdown(("generator", *(column.replace("_", " ") for column in COLUMNS)), rows), made)
        slugs = {name: name.replace(",", "").replace(" ", "_") for name in found}
        return {f"{slugs[name]}/{figure}": value for name, values in found.items() for figure, value in values.items()}

    def _sampled(self, autoencoder: Autoencoder, images: Tensor) -> dict[str, Tensor]:
        """Samples of the autoencoder for each number of Gaussians fitted to its codes of images."""
        mixtures = {count: CodeMixture(autoencoder, images, count, self.seed) for count in self.components}
        return {
            f"autoencoder, {count} Gaussian{'s' * (count > 1)}": mixture.sample(self.samples, self.seed)
            for count, mixture in mixtures.items()
        }

    def _show(self, folder: Path, text: str, made: dict[str, Tensor]) -> None:
        files.write(folder / "comparison.md", text)
        print(text)
        shown = torch.cat([images[:SHOWN] for images in made.values()])
        picture = plots.grid(shown, SHOWN, "Samples of each generator", list(made))
        plots.save(picture, folder / "figures" / "samples.png")
        with SummaryWriter(str(folder)) as writer:
            writer.add_text("comparison", text)
            writer.add_figure("samples", picture)
