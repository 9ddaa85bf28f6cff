"""Measures a GAN's averaged generator at validation and at test."""

import logging

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mnist_gen.data.mnist import ImageData, ImageSet, to_images
from mnist_gen.errors import check_at_least
from mnist_gen.evaluation import fidelity
from mnist_gen.evaluation.metrics import OF_SAMPLES, RealImages, Samples, measure
from mnist_gen.evaluation.scorer import scorer_for
from mnist_gen.gan.gan import GAN
from mnist_gen.networks.classifiers import Scorer
from mnist_gen.training.trainer import data_of, model_of

log = logging.getLogger(__name__)


class MeasureSamples(Callback):
    """Logs every metric of samples: the cheap ones as `val/*`, all as `test/*`.

    Logs the same metrics of real training images as `floor/*`.

    Args:
        scorer: path of a scorer, or None for the packaged one.
        val_samples: samples at each validation, always from the same latents.
        test_samples: samples at test, and training images for the real-data floor.
        cas: whether the test includes CAS. This trains two classifiers: on as many samples as there are training
            images, and on the training images.
        seed: of the latents, the labels and the floor's images.
    """

    def __init__(self, scorer: str | None, val_samples: int, test_samples: int, cas: bool, seed: int) -> None:
        least = fidelity.NEIGHBOURS + 1
        check_at_least(least, "callbacks.metrics", val_samples=val_samples, test_samples=test_samples)
        self.path, self.cas, self.seed = scorer, cas, seed
        self.val_samples, self.test_samples = val_samples, test_samples
        self._scorer: Scorer | None = None
        self._val: RealImages | None = None

    def validation_metrics(self, model: L.LightningModule) -> list[str]:
        """The names of what it logs at validation."""
        labels = model_of(model, GAN).conditional
        return [metric.name for metric in OF_SAMPLES if metric.validation and metric.labels in (None, labels)]

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Loads the scorer. Without one for the data set, nothing is measured."""
        dataset = data_of(trainer, ImageData).dataset
        self._scorer = scorer_for(self.path, dataset)
        if self._scorer is None and stage == "fit":
            log.warning("No metrics of samples: there is no scorer for %s (experiment=scorer trains one).", dataset)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Logs `val/*`, against the validation images."""
        if self._scorer is None:
            return
        data, model, scorer = data_of(trainer, ImageData), model_of(pl_module, GAN), self._scorer.to(pl_module.device)
        if self._val is None:
            self._val = self._reference(scorer, data.val.to(model.device))
        images, labels = self._sample(model, data.train, self.val_samples)
        metrics = measure(Samples(images, labels, scorer, self._val), validation=True)
        pl_module.log_dict({f"val/{name}": value for name, value in metrics.items()}, logger=False)  # `Curves` logs it

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Logs `test/*` and `floor/*`, against the test images."""
        if self._scorer is None:
            return
        data, model, scorer = data_of(trainer, ImageData), model_of(pl_module, GAN), self._scorer.to(pl_module.device)
        train, device = data.train.to(model.device), model.device
        limit = fidelity.memorisation_limit(to_images(data.val.images).to(device), train.images)
        test = self._reference(scorer, data.test.to(device), train.images, limit)
        images, labels = self._sample(model, train, self.test_samples)
        samples, floor = Samples(images, labels, scorer, test), self._floor(train, scorer, test, labels is not None)
        if self.cas and labels is not None:
            samples.training_set = lambda: self._labelled(model, train)
            floor.training_set = lambda: (to_images(train.images), train.labels)
        logged = {f"test/{name}": value for name, value in measure(samples).items()}
        logged |= {f"floor/{name}": value for name, value in measure(floor).items()}
        pl_module.log_dict(logged, logger=False)

    def _reference(
        self, scorer: Scorer, real: ImageSet, training: Tensor | None = None, limit: float = 0.0
    ) -> RealImages:
        images = to_images(real.images)
        features, _ = fidelity.features_and_digits(scorer, images)
        return RealImages(images, real.labels, features, training, limit)

    def _sample(self, model: GAN, train: ImageSet, count: int) -> tuple[Tensor, Tensor | None]:
        """Samples with labels drawn from those of the training images, so that digits are equally frequent."""
        generator = torch.Generator().manual_seed(self.seed)
        latents = model.latents(count, generator)
        drawn = torch.randint(len(train), (count,), generator=generator).to(train.labels.device)
        labels = train.labels[drawn].to(model.device) if model.conditional else None
        return model.generate(latents, labels), labels

    def _labelled(self, model: GAN, train: ImageSet) -> tuple[Tensor, Tensor]:
        images, labels = self._sample(model, train, len(train))
        assert labels is not None
        return images, labels

    def _floor(self, train: ImageSet, scorer: Scorer, test: RealImages, labelled: bool) -> Samples:
        """Training images in place of samples, and test images for `memorised`."""
        drawn = train.drawn(self.test_samples, torch.Generator().manual_seed(self.seed))
        labels = drawn.labels if labelled else None
        return Samples(to_images(drawn.images), labels, scorer, test, unseen=test.images)
