"""A network that learns to reproduce a fixed convolution or dense layer."""

from collections.abc import Callable

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer

from mnist_gen.data import IMAGE_SIZE
from mnist_gen.data.mnist import Batch, ImageData, to_images
from mnist_gen.errors import UserError, check_divisor, check_odd
from mnist_gen.networks.inspection import Examples
from mnist_gen.runs import plots
from mnist_gen.training.optimization import with_schedule
from mnist_gen.training.pictures import FirstPicture, keep
from mnist_gen.training.trainer import data_of, model_of, split_of

SHOWN = 10  # images in the figure


class ConvolutionTeacher(nn.Conv2d):
    """A convolution that keeps the size: images (N, 1, H, W) -> one vector per pixel (N, H W, out)."""

    def __init__(self, out: int, kernel: int) -> None:
        check_odd("model.teacher.kernel", kernel, "to keep the size of an image")
        super().__init__(1, out, kernel, padding=kernel // 2)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).flatten(2).transpose(1, 2)


class DenseTeacher(nn.Linear):
    """A dense layer over all pixels: images (N, 1, side, side) -> (N, out)."""

    def __init__(self, out: int, side: int) -> None:
        super().__init__(side**2, out)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.flatten(1))


class Mimicry(L.LightningModule):
    """A network learns a teacher's outputs from images; the teacher has random weights (Hinton et al. 2015).

    The metric is the relative error: the root mean square of the difference, over that of the teacher's deviation from
    its channel means. The best constants have 1; its square is the share of unexplained variance.
    """

    validation_metrics = ("relative_error",)
    replayable = True

    def __init__(
        self,
        teacher: nn.Module,  # fixed; takes images (N, 1, side, side)
        network: nn.Module,  # learns; its outputs have the shape of the teacher's
        side: int,  # images are averaged down to it
        optimizer: Callable[..., Optimizer],
        warmup: int,  # batches over which the learning rate rises
        decay_from: float,  # share of the run after which the learning rate falls linearly to 0
    ) -> None:
        super().__init__()
        self.teacher, self.network, self.side = teacher.requires_grad_(False), network, side
        self.optimizer, self.warmup, self.decay_from = optimizer, warmup, decay_from
        self._sums: list[Tensor] = []
        check_divisor("model.side", side, IMAGE_SIZE)
        with torch.no_grad():
            self.outputs_and_targets(torch.zeros(1, 1, IMAGE_SIZE, IMAGE_SIZE))  # checks the shapes

    def examples(self) -> Examples:
        """The network with its input."""
        return {"network": (self.network, (torch.zeros(2, 1, self.side, self.side, device=self.device),))}

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        return with_schedule(self, self.optimizer(self.network.parameters()), self.warmup, self.decay_from)

    def outputs_and_targets(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The outputs of network and teacher for images (N, 1, 32, 32) in [0, 1]."""
        small = F.adaptive_avg_pool2d(images, self.side)
        outputs, targets = self.network(small), self.teacher(small)
        if outputs.shape != targets.shape:
            raise UserError(
                f"model.network gives {tuple(outputs.shape[1:])} per image, the teacher {tuple(targets.shape[1:])}: "
                "to mimic a convolution, choose one token per pixel with model/network/tokens=windows or pixels."
            )
        return outputs, targets

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return F.mse_loss(*self.outputs_and_targets(batch[0]))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Sums what the relative error needs, in double precision."""
        outputs, targets = (values.double().flatten(0, -2) for values in self.outputs_and_targets(batch[0]))
        sums = [(outputs - targets).square(), targets, targets.square(), torch.ones_like(targets)]  # (B, channels) each
        self._sums.append(torch.stack(sums).sum(dim=1))

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        *sums, count = torch.stack(self._sums).sum(dim=0)
        self._sums = []
        difference, mean, square = (value / count for value in sums)
        error = (difference.sum() / (square - mean.square()).sum()).sqrt()
        self.log(f"{split_of(self.trainer)}/relative_error", error.float(), logger=False)

    on_test_epoch_end = on_validation_epoch_end


class DrawMimicry(FirstPicture):
    """Draws the outputs of teacher and network for test images: figures/mimicry.png."""

    def figure(self, trainer: L.Trainer, pl_module: L.LightningModule, when: str) -> plots.Figure:
        return _figure(model_of(pl_module, Mimicry), data_of(trainer, ImageData), when)

    @torch.no_grad()
    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            keep(trainer, self.figure(trainer, pl_module, "tested checkpoint"), "mimicry")


def _figure(model: Mimicry, data: ImageData, when: str) -> plots.Figure:
    """A convolution's first channel as an image, a dense layer as a scatter plot."""
    images = to_images(data.test.images[:SHOWN].to(model.device))
    outputs, targets = model.outputs_and_targets(images)
    if targets.ndim == 2:
        values = {"one output for one image": (targets.flatten().tolist(), outputs.flatten().tolist())}
        return plots.scatter({"outputs": values}, f"A dense layer, mimicked, {when}", "the layer", "the network", False)
    low, high = targets[..., 0].min(), targets[..., 0].max()
    rows = [(part[..., 0] - low) / (high - low) for part in (targets, outputs)]
    shown = [F.adaptive_avg_pool2d(images, model.side), *(row.view(-1, 1, model.side, model.side) for row in rows)]
    return plots.grid(
        torch.cat(shown), len(images), f"A convolution, mimicked, {when}", ("image", "convolution", "network")
    )
