"""Measures a GAN's averaged generator at validation and at test."""

import logging
import math
from functools import partial
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mnist_gen.data.mnist import ImageData, ImageSet, to_images
from mnist_gen.evaluation import fidelity
from mnist_gen.evaluation.floor import cas_of_real_images
from mnist_gen.evaluation.metrics import OF_SAMPLES, RealImages, Samples, measure
from mnist_gen.evaluation.scorer import scorer_for
from mnist_gen.gan.clusters import Clusters
from mnist_gen.gan.gan import GAN
from mnist_gen.networks.classifiers import Scorer
from mnist_gen.training.trainer import data_of, model_of

log = logging.getLogger(__name__)

OTHER_SAMPLES = 10**6  # the distance of their seeds


def reference(scorer: Scorer, real: ImageSet, training: Tensor | None = None, limit: float = 0.0) -> RealImages:
    """Real images to compare samples with; `training` and `limit` are for `memorised`."""
    images = to_images(real.images)
    return RealImages(images, real.labels, fidelity.features_and_digits(scorer, images)[0], training, limit)


class MeasureSamples(Callback):
    """Logs every metric of samples: the cheap ones as `val/*`, all as `test/*`; of training images as `floor/*`.

    Without a path, the scorer is the packaged one. All validations measure samples of the same latents. The test
    measures as many training images as samples. CAS trains two classifiers: on as many samples as there are training
    images, and on the training images. `cas_fresh` trains another one, on new samples in each epoch.
    """

    def __init__(
        self, scorer: str | None, val_samples: int, test_samples: int, cas: bool, seed: int, cas_fresh: bool = False
    ) -> None:
        self.path, self.cas, self.cas_fresh, self.seed = scorer, cas, cas_fresh, seed
        self.val_samples, self.test_samples = val_samples, test_samples
        self._scorer: Scorer | None = None
        self._val: RealImages | None = None

    def validation_metrics(self, model: L.LightningModule) -> list[str]:
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
            self._val = reference(scorer, data.val.to(model.device))
        samples = Samples(*self._sample(model, data.train, self.val_samples), scorer, self._val)
        metrics = measure(samples, validation=True)
        pl_module.log_dict({f"val/{name}": value for name, value in metrics.items()}, logger=False)  # `Curves` logs it

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Logs `test/*` and `floor/*`, against the test images."""
        if self._scorer is None:
            return
        data, model, scorer = data_of(trainer, ImageData), model_of(pl_module, GAN), self._scorer.to(pl_module.device)
        train, device = data.train.to(model.device), model.device
        limit = fidelity.memorisation_limit(to_images(data.val.images).to(device), train.images)
        test = reference(scorer, data.test.to(device), train.images, limit)
        samples = Samples(*self._sample(model, train, self.test_samples), scorer, test)
        drawn = train.drawn(self.test_samples, self._random())
        labels = drawn.labels if model.conditional else None
        floor = Samples(to_images(drawn.images), labels, scorer, test, unseen=test.images)
        of_epoch = partial(self._sample, model, train, len(train))
        asked = test.images, test.labels
        if self.cas and model.conditional:
            samples.cas = lambda: fidelity.cas(*of_epoch(0), *asked)
            floor.cas = lambda: cas_of_real_images(train, data.test.to(device), data.cache)
        if self.cas_fresh and model.conditional:
            samples.cas_fresh = lambda: fidelity.cas(*of_epoch(0), *asked, renew=of_epoch)
        for split, images, bar in (("test", samples, "test"), ("floor", floor, "real data")):
            metrics = measure(images, bar=bar)
            pl_module.log_dict({f"{split}/{name}": value for name, value in metrics.items()}, logger=False)
        if isinstance(model.pseudo_labels, Clusters):
            pl_module.log("test/cluster_accuracy", model.pseudo_labels.accuracy(test.images, test.labels), logger=False)

    def _random(self, number: int = 0) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed + number * OTHER_SAMPLES)

    def _sample(self, model: GAN, train: ImageSet, count: int, number: int = 0) -> tuple[Tensor, Any]:
        """Samples, and labels as frequent as among the training images; None if unconditional.

        With `number` 0, the data set's labels are those of the images that give the floor: labels drawn independently,
        as pseudo-labels are, raise the FID of a generator near the floor by their luck.
        """
        generator, labels = self._random(number), None
        if model.conditional and model.pseudo_labels is not None:
            labels = model.pseudo_labels.draw(count, generator)
        elif model.conditional:
            order = train.order(count, generator)
            labels = train.labels[order.repeat(math.ceil(count / len(order)))[:count]]  # of few images, several times
        labels = labels if labels is None else labels.to(model.device)
        return model.generate(model.latents(count, generator), labels), labels
