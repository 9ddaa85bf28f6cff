"""Figures of an autoencoder: restored images, directions in the latent space, error against noise."""

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from matplotlib import colormaps
from torch import Tensor

from mnist_gen.autoencoder.autoencoder import Autoencoder
from mnist_gen.data import NUM_CLASSES
from mnist_gen.data.augment import drawn_from, noisy
from mnist_gen.data.corrupted import CorruptedImages
from mnist_gen.data.mnist import to_images
from mnist_gen.data.pairs import first_of_each
from mnist_gen.runs import plots
from mnist_gen.runs.loggers import epochs_done, tensorboard
from mnist_gen.training.pictures import FirstPicture, keep
from mnist_gen.training.trainer import data_of, model_of

LEVELS = (0.0, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0)  # standard deviations of the noise
STEPS = torch.linspace(-3, 3, 9)  # standard deviations along a direction


class DrawRestoration(FirstPicture):
    """Draws test images, corrupted and restored, in TensorBoard and in the run's `figures` folder."""

    def __init__(self, seed: int) -> None:
        self.seed = seed  # of the corruption

    def figure(self, trainer: L.Trainer, pl_module: L.LightningModule, when: str) -> plots.Figure:
        rows = self._rows(model_of(pl_module, Autoencoder), data_of(trainer, CorruptedImages))
        names = ("original", "corrupted", "restored")
        return plots.grid(rows, len(rows) // 3, f"Test images restored, {when}", names)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking and trainer.is_global_zero:
            keep(trainer, self.figure(trainer, pl_module, f"epoch {epochs_done(trainer)}"), "restored")

    @torch.no_grad()
    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the same rows, the main directions of the latent space, and the error against the noise."""
        if trainer.is_global_zero:
            model, data = model_of(pl_module, Autoencoder), data_of(trainer, CorruptedImages)
            keep(trainer, self.figure(trainer, pl_module, "tested checkpoint"), "restored")
            images = to_images(data.test.images).to(model.device)
            keep(trainer, _traversals(model, images), "traversals")
            with drawn_from(self.seed):
                keep(trainer, _noise(model, images), "noise")

    def _rows(self, model: Autoencoder, data: CorruptedImages) -> Tensor:
        """One test image of each digit: original, corrupted and restored, by default (30, 1, 32, 32)."""
        images = to_images(first_of_each(data.test).images).to(model.device)
        with drawn_from(self.seed):
            corrupted = data.corrupted(images)
        return torch.cat([images, corrupted.clamp(0, 1), model(corrupted)])


class ProjectLatents(Callback):
    """Writes latents of `count` test images for TensorBoard's projector, as white images on a colour for each digit."""

    def __init__(self, count: int) -> None:
        self.count = count

    @torch.no_grad()
    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if writer := tensorboard(trainer):
            model, test = model_of(pl_module, Autoencoder), data_of(trainer, CorruptedImages).test.first(self.count)
            images = to_images(test.images)
            latents = model.encode(images.to(model.device))
            white = images.cpu()
            colours = torch.from_numpy(colormaps["tab10"](test.labels.cpu().numpy()))[:, :3, None, None]  # (N, 3, 1, 1)
            writer.add_embedding(latents, test.labels.tolist(), white + (1 - white) * colours, tag="latents")


def _traversals(model: Autoencoder, images: Tensor) -> plots.Figure:
    latents = model.encode(images)
    directions = main_directions(latents, NUM_CLASSES)  # (10, latent_dim), fewer if latent_dim < 10
    paths = latents[0] + STEPS.to(model.device).view(1, -1, 1) * directions.unsqueeze(1)  # (10, 9, latent_dim)
    title = "One latent moved -3 to 3 standard deviations\nalong each of the main directions"
    ranks = [str(rank + 1) for rank in range(len(directions))]
    return plots.grid(model.decode(paths.flatten(0, 1)), len(STEPS), title, ranks)


def _noise(model: Autoencoder, images: Tensor) -> plots.Figure:
    errors: dict[str, list[float]] = {"noisy": [], "restored": []}
    for level in LEVELS:
        inputs = noisy(images, level)
        errors["noisy"].append(_rms_error(inputs, images))
        errors["restored"].append(_rms_error(model(inputs), images))
    title = "Error of test images with noise, before and after restoring"
    return plots.curves(LEVELS, errors, title, "root mean squared error", "noise (standard deviation)")


def main_directions(latents: Tensor, count: int) -> Tensor:
    """The `count` directions of largest variance of latents (N, latent_dim), each one standard deviation long."""
    variances, directions = torch.linalg.eigh(latents.T.cov())  # ascending, in columns
    return (directions * variances.clamp_min(0).sqrt()).T.flip(0)[:count]


def _rms_error(images: Tensor, originals: Tensor) -> float:
    return (images - originals).square().mean().sqrt().item()
