"""When a GAN's averaged generator is measured."""

import logging

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mnist_gen.data.mnist import ImageData, ImageSet, to_images
from mnist_gen.errors import UserError
from mnist_gen.evaluation import fidelity
from mnist_gen.evaluation.scorer import scorer_for
from mnist_gen.gan.gan import GAN
from mnist_gen.training.trainer import data_of, model_of

log = logging.getLogger(__name__)


class Judge(Callback):
    """Measures a GAN's averaged generator: a cheap look at each validation, everything at test.

    Logs `val/*` and `test/*`, and as `floor/*` what the test gives for real training images in the samples' place.

    Args:
        scorer: path of a scorer, or None for the one in the package.
        val_samples: samples at each validation, from fixed latents.
        test_samples: samples at test, and training images for the floor.
        cas: whether the test includes CAS, its slowest part: two classifiers are trained, one on as many samples as
            there are training images, and one on these.
        seed: of the latents, the labels and the floor's images.
    """

    def __init__(self, scorer: str | None, val_samples: int, test_samples: int, cas: bool, seed: int) -> None:
        for key, count in {"val_samples": val_samples, "test_samples": test_samples}.items():
            if count <= fidelity.NEIGHBOURS:
                raise UserError(f"{key}={count}: must be more than {fidelity.NEIGHBOURS}.")
        self.path, self.cas, self.seed = scorer, cas, seed
        self.val_samples, self.test_samples = val_samples, test_samples
        self._scorer: fidelity.Scorer | None = None
        self._val_features: Tensor | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Loads the scorer, before any training; a set without one is not judged."""
        dataset = data_of(trainer, ImageData).dataset
        self._scorer = scorer_for(self.path, dataset)
        if self._scorer is None and stage == "fit":
            log.warning("Fidelity is off: no scorer for %s (make one with experiment=scorer, name it).", dataset)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The cheap look, against the validation images."""
        if self._scorer is None:
            return
        data, scorer = data_of(trainer, ImageData), self._scorer.to(pl_module.device)
        sample = self._samples(pl_module, data.train, self.val_samples)
        if self._val_features is None:
            self._val_features, _ = fidelity.read(scorer, to_images(data.val.images).to(pl_module.device))
        metrics = _prefixed("val", fidelity.glance(scorer, sample, self._val_features))
        pl_module.log_dict(metrics, logger=False)  # `callbacks.Curves` writes it, with epochs as step

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The full judgement, against the test images, and its floor."""
        if self._scorer is None:
            return
        data, scorer = data_of(trainer, ImageData), self._scorer.to(pl_module.device)
        train, tested = data.train.to(pl_module.device), data.test.to(pl_module.device)
        training = train.images
        limit = fidelity.memorisation_limit(to_images(data.val.images).to(pl_module.device), training)
        test = fidelity.Sample(to_images(tested.images), tested.labels)
        sample = self._samples(pl_module, train, self.test_samples)
        real = self._real(train, self.test_samples, labelled=sample.labels is not None)
        features, _ = fidelity.read(scorer, test.images)
        metrics = fidelity.judge(scorer, sample, features, test)
        metrics["memorised"] = fidelity.memorised(sample.images, training, limit)
        floor = fidelity.judge(scorer, real, features, test)
        floor["memorised"] = fidelity.memorised(test.images, training, limit)
        if self.cas and sample.labels is not None:
            many = self._samples(pl_module, train, len(train))
            assert many.labels is not None
            metrics["cas"] = fidelity.cas(many.images, many.labels, test.images, tested.labels)
            floor["cas"] = fidelity.cas(to_images(training), train.labels, test.images, tested.labels)
        pl_module.log_dict(_prefixed("test", metrics) | _prefixed("floor", floor), logger=False)

    def _samples(self, module: L.LightningModule, train: ImageSet, count: int) -> fidelity.Sample:
        """Samples whose labels are drawn from the training images' own, so that each digit is as frequent."""
        model, generator = model_of(module, GAN), torch.Generator().manual_seed(self.seed)
        latents = model.latents(count, generator)
        drawn = torch.randint(len(train), (count,), generator=generator).to(train.labels.device)
        labels = train.labels[drawn].to(model.device) if model.conditional else None
        return fidelity.Sample(model.generate(latents, labels), labels)

    def _real(self, train: ImageSet, count: int, labelled: bool) -> fidelity.Sample:
        drawn = train.drawn(count, torch.Generator().manual_seed(self.seed))
        return fidelity.Sample(to_images(drawn.images), drawn.labels if labelled else None)


def _prefixed(prefix: str, metrics: fidelity.Metrics) -> fidelity.Metrics:
    return {f"{prefix}/{name}": value for name, value in metrics.items()}
