"""A network that learns to give what a fixed convolution or dense layer gives."""

from collections.abc import Callable

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer

from mnist_gen import plots
from mnist_gen.data.mnist import IMAGE_SIZE, Batch, ImageData, to_images
from mnist_gen.errors import UserError
from mnist_gen.runs.tensorboard import run_folder
from mnist_gen.training.optimization import refuse_unless_finite, warm_up_and_decay
from mnist_gen.training.trainer import data_of, model_of

SHOWN = 10  # images in a picture


class ConvolutionTeacher(nn.Conv2d):
    """A convolution that keeps the size: images (N, 1, H, W) -> a result for each pixel (N, H W, out).

    Args:
        out: channels.
        kernel: odd side.
    """

    def __init__(self, out: int, kernel: int) -> None:
        if kernel < 1 or kernel % 2 == 0:
            raise UserError(f"model.teacher.kernel={kernel}: a kernel that keeps an image's size has an odd side.")
        _check_out(out)
        super().__init__(1, out, kernel, padding=kernel // 2)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).flatten(2).transpose(1, 2)


class DenseTeacher(nn.Linear):
    """A dense layer over all pixels: images (N, 1, side, side) -> (N, out)."""

    def __init__(self, out: int, side: int) -> None:
        _check_out(out)
        super().__init__(side**2, out)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.flatten(1))


def _check_out(out: int) -> None:
    if out < 1:
        raise UserError(f"model.teacher.out={out}: must be at least 1.")


class Mimicry(L.LightningModule):
    """A network learns from images to give what a teacher with random weights gives (Hinton et al. 2015).

    The error is relative: the root mean square of the difference, by that of the teacher's deviation from the mean of
    each of its channels. It is 1 for the best constants and the root of the share of variance left unexplained.

    Args:
        teacher: fixed; takes images (N, 1, side, side).
        network: what learns, from the same images to results of the same shape.
        side: to which images are averaged down, a divisor of theirs.
        optimizer: makes an optimizer from parameters.
        warmup: batches over which the learning rate rises to its value.
        decay_from: share of the run after which it falls linearly to 0.

    Raises:
        UserError: `side` is no divisor, or network and teacher give results of different shapes.
    """

    def __init__(
        self,
        teacher: nn.Module,
        network: nn.Module,
        side: int,
        optimizer: Callable[..., Optimizer],
        warmup: int,
        decay_from: float,
    ) -> None:
        super().__init__()
        self.teacher, self.network, self.side = teacher.requires_grad_(False), network, side
        self.optimizer, self.warmup, self.decay_from = optimizer, warmup, decay_from
        self._looked_at: list[Tensor] = []
        if side < 1 or IMAGE_SIZE % side:
            raise UserError(f"model.side={side}: must be a divisor of {IMAGE_SIZE}.")
        with torch.no_grad():
            self.both(torch.zeros(1, 1, IMAGE_SIZE, IMAGE_SIZE))  # those that do not go together say so here

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimizer and its schedule, stepped each batch."""
        optimizer = self.optimizer(self.network.parameters())
        batches = self.trainer.estimated_stepping_batches
        schedule = warm_up_and_decay(optimizer, batches, self.warmup, self.decay_from)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def both(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What the network and the teacher make of images (N, 1, 32, 32) in [0, 1]."""
        small = F.adaptive_avg_pool2d(images, self.side)
        made, wanted = self.network(small), self.teacher(small)
        if made.shape != wanted.shape:
            shapes = [tuple(part.shape[1:]) for part in (made, wanted)]
            raise UserError(
                f"model.network gives {shapes[0]} for an image and the teacher {shapes[1]}: "
                "to mimic a convolution it takes a token for each pixel, model/network/tokens=windows or pixels."
            )
        return made, wanted

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The mean squared difference."""
        made, wanted = self.both(batch[0])
        loss = F.mse_loss(made, wanted)
        refuse_unless_finite(loss, self, self.global_step)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Measures a batch."""
        self._measure(batch[0])

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Measures a batch."""
        self._measure(batch[0])

    def on_validation_epoch_end(self) -> None:
        """Logs `val/relative_error`."""
        self._log("val")

    def on_test_epoch_end(self) -> None:
        """Logs `test/relative_error`."""
        self._log("test")

    def _measure(self, images: Tensor) -> None:
        made, wanted = (values.double().flatten(0, -2) for values in self.both(images))  # (values, channels)
        sums = [(made - wanted).square(), wanted, wanted.square(), torch.ones_like(wanted)]
        self._looked_at.append(torch.stack(sums).sum(dim=1))

    def _log(self, split: str) -> None:
        *sums, count = torch.stack(self._looked_at).sum(dim=0)
        self._looked_at = []
        difference, mean, square = (value / count for value in sums)
        error = (difference.sum() / (square - mean.square()).sum()).sqrt()
        self.log(f"{split}/relative_error", error.float(), logger=False)


class DrawMimicry(Callback):
    """A picture of what teacher and network make of test images, at the end: figures/mimicry.png."""

    @torch.no_grad()
    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """One channel of a convolution as an image; of a dense layer, one result against the other."""
        if trainer.is_global_zero:
            model, data = model_of(pl_module, Mimicry), data_of(trainer, ImageData)
            images = to_images(data.test.images[:SHOWN].to(model.device))
            plots.save(_picture(model, images), run_folder(trainer) / "figures" / "mimicry.png")


def _picture(model: Mimicry, images: Tensor) -> plots.Figure:
    made, wanted = model.both(images)
    if wanted.ndim == 2:
        points = {"a result of an image": (wanted.flatten().tolist(), made.flatten().tolist())}
        return plots.scatter({"what is learnt": points}, "A dense layer mimicked", "the layer", "the network", False)
    low, high = wanted[..., 0].min(), wanted[..., 0].max()
    rows = [(part[..., 0] - low) / (high - low) for part in (wanted, made)]
    shown = [F.adaptive_avg_pool2d(images, model.side), *(row.view(-1, 1, model.side, model.side) for row in rows)]
    return plots.grid(torch.cat(shown), len(images), "A convolution mimicked", ("image", "convolution", "network"))
