"""Pictures of a translator."""

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torchvision.utils import make_grid

from mnist_gen import plots
from mnist_gen.data.mnist import NUM_CLASSES, to_images
from mnist_gen.data.pairs import ImagePairs, first_of_each
from mnist_gen.runs.tensorboard import epochs_done, run_folder, tensorboard
from mnist_gen.training.trainer import data_of, model_of
from mnist_gen.translation.translation import Translation


class DrawTranslation(Callback):
    """Test images of each digit, their translations and their counterparts, in three rows; at the end what is read."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """For TensorBoard's slider."""
        if writer := tensorboard(trainer):
            rows = make_grid(_rows(trainer, pl_module), nrow=NUM_CLASSES, padding=1)
            writer.add_image("translated", rows, epochs_done(trainer))

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """As figures/translation.png; and becomes.png, which digits are read in the translations of each digit."""
        if trainer.is_global_zero:
            rows, data = _rows(trainer, pl_module), data_of(trainer, ImagePairs)
            folder = run_folder(trainer) / "figures"
            names = ("input", "output", "truth" if data.true_counterparts else "of its class")
            picture = plots.grid(rows, NUM_CLASSES, "Test images translated", names, "0123456789")
            plots.save(picture, folder / "translation.png")
            title = "Test images: digit, and what is read in its translation,\nin % of the digit"
            plots.save(
                plots.confusion(model_of(pl_module, Translation).becomes, title, "digit translated"),
                folder / "becomes.png",
            )


def _rows(trainer: L.Trainer, module: L.LightningModule) -> Tensor:
    data, model = data_of(trainer, ImagePairs), model_of(module, Translation)
    shown = data.counterparts(first_of_each(data.test))
    images, wanted = (to_images(part.images).to(model.device) for part in (shown.a, shown.b))
    return torch.cat([images, model.translate(images), wanted])
