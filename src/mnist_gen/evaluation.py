"""When to measure and to draw: a GAN's averaged generator at validation and test, a scorer at its end."""

import logging
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from safetensors.torch import save_model
from torch import Tensor
from torchvision.utils import make_grid

from mnist_gen import fidelity, figures
from mnist_gen.callbacks import epochs_done, run_folder, tensorboard
from mnist_gen.classifier import Classifier
from mnist_gen.data import NUM_CLASSES, ImageData, ImageSet, to_images
from mnist_gen.errors import UserError
from mnist_gen.gan import GAN

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
        dataset = _data(trainer).dataset
        if self.path is None and dataset != "MNIST":
            if stage == "fit":
                log.warning("Fidelity is off: no scorer for %s (make one with experiment=scorer, name it).", dataset)
            return
        self._scorer = fidelity.load_scorer(self.path, dataset)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The cheap look, against the validation images."""
        if self._scorer is None:
            return
        data, scorer = _data(trainer), self._scorer.to(pl_module.device)
        sample = self._samples(pl_module, data.train, self.val_samples)
        if self._val_features is None:
            self._val_features, _ = fidelity.read(scorer, to_images(data.val.images).to(pl_module.device))
        metrics = _prefixed("val", fidelity.glance(scorer, sample, self._val_features))
        pl_module.log_dict(metrics, logger=False)  # `callbacks.Curves` writes it, with epochs as step

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The full judgement, against the test images, and its floor."""
        if self._scorer is None:
            return
        data, scorer = _data(trainer), self._scorer.to(pl_module.device)
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
        assert isinstance(module, GAN)
        generator = torch.Generator().manual_seed(self.seed)
        latents = torch.randn(count, module.latent_dim, generator=generator).to(module.device)
        drawn = torch.randint(len(train), (count,), generator=generator).to(train.labels.device)
        labels = train.labels[drawn].to(module.device) if module.conditional else None
        return fidelity.Sample(module.generate(latents, labels), labels)

    def _real(self, train: ImageSet, count: int, labelled: bool) -> fidelity.Sample:
        chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(self.seed))[:count]
        subset = train.subset(chosen.to(train.labels.device))
        return fidelity.Sample(to_images(subset.images), subset.labels if labelled else None)


class Draw(Callback):
    """Pictures of the averaged generator from fixed latents, at chosen epochs and of the tested checkpoint.

    Files under `figures/`, and images in TensorBoard. In the 10x10 grid a row is a digit and a column a latent.

    Args:
        at_epochs: epochs after which the grid is drawn; None for 1, 2, 5, 10, 20, 50, ... and the last one.
        digit: the digit that fills a picture of its own.
        seed: of the latents.
    """

    columns = 10

    def __init__(self, at_epochs: Sequence[int] | None, digit: int, seed: int) -> None:
        if at_epochs is not None and not isinstance(at_epochs, Sequence):
            raise UserError(f"at_epochs={at_epochs}: must be a list or null.")
        if digit not in range(NUM_CLASSES):
            raise UserError(f"digit={digit}: choose 0 to {NUM_CLASSES - 1}.")
        self.at_epochs, self.digit, self.seed = at_epochs, digit, seed
        self.grids: dict[int, Tensor] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuses epochs that the run does not reach."""
        late = [epoch for epoch in self.at_epochs or () if epoch > (trainer.max_epochs or 0)]
        if stage == "fit" and late:
            raise UserError(f"callbacks.draw.at_epochs={late}: the run ends at epoch {trainer.max_epochs}.")

    def _is_chosen(self, epoch: int, last: int | None) -> bool:
        if self.at_epochs is not None:
            return epoch in self.at_epochs
        return epoch == last or str(epoch).rstrip("0") in ("1", "2", "5")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The grid at a chosen epoch, and all of them so far side by side."""
        epoch = epochs_done(trainer)
        if not self._is_chosen(epoch, trainer.max_epochs) or not trainer.is_global_zero:
            return
        images = self._grid(pl_module)
        self.grids[epoch] = (images * 255).byte().cpu()
        folder = run_folder(trainer) / "figures"
        figures.save(self._picture(pl_module, images, f"epoch {epoch}"), folder / f"grid_epoch_{epoch:03}.png")
        past = {number: raw / 255 for number, raw in self.grids.items()}
        figures.save(figures.epochs_strip(past, self.columns, "Fixed latents over the epochs"), folder / "epochs.png")
        if writer := tensorboard(trainer):
            writer.add_image("samples", make_grid(images, nrow=self.columns, padding=1), epoch)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The digits 0 to 9 in a row, the grid and many images of one digit."""
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, GAN)
        folder = run_folder(trainer) / "figures"
        images = self._grid(pl_module)
        figures.save(self._picture(pl_module, images, "best checkpoint"), folder / "grid.png")
        if pl_module.conditional:
            row = figures.grid(images[:: self.columns], self.columns, "Digits 0 to 9 from one latent")
            figures.save(row, folder / "digits.png")
            same = pl_module.sample(self.digit, 25, self.seed)
            figures.save(figures.grid(same, 5, f"25 samples of {self.digit}"), folder / f"digit_{self.digit}.png")

    def _grid(self, module: L.LightningModule) -> Tensor:
        """(100, 1, 32, 32): row by row, digit c from the latents 0 to 9; without labels, a hundred latents."""
        assert isinstance(module, GAN)
        latents = torch.randn(
            NUM_CLASSES * self.columns, module.latent_dim, generator=torch.Generator().manual_seed(self.seed)
        )
        if not module.conditional:
            return module.generate(latents.to(module.device))
        labels = torch.arange(NUM_CLASSES).repeat_interleave(self.columns)
        return module.generate(
            latents[: self.columns].repeat(NUM_CLASSES, 1).to(module.device), labels.to(module.device)
        )

    def _picture(self, module: L.LightningModule, images: Tensor, when: str) -> figures.Figure:
        assert isinstance(module, GAN)
        if not module.conditional:
            return figures.grid(images, self.columns, f"Samples, {when}")
        return figures.grid(images, self.columns, f"A row is a digit, a column a latent; {when}", "0123456789")

    def state_dict(self) -> dict[str, Any]:
        """The grids drawn so far."""
        return {"grids": self.grids}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes them back."""
        self.grids = state["grids"]


class ExportScorer(Callback):
    """Writes the tested classifier as `scorer.safetensors`, which `scorer=<path>` and the package take."""

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Names the data set and the test accuracy in the file."""
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, Classifier)
        about = {
            "dataset": _data(trainer).dataset,
            "test_accuracy": f"{float(trainer.callback_metrics['test/accuracy']):.4f}",
        }
        save_model(pl_module.network, str(run_folder(trainer) / "scorer.safetensors"), metadata=about)


def _data(trainer: L.Trainer) -> ImageData:
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, ImageData)
    return data


def _prefixed(prefix: str, metrics: fidelity.Metrics) -> fidelity.Metrics:
    return {f"{prefix}/{name}": value for name, value in metrics.items()}
