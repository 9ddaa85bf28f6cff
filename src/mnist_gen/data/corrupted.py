"""Corrupted images, and the originals to restore."""

from typing import Any

from torch import Tensor

from mnist_gen.data.augment import drawn_from, noisy, random_affine
from mnist_gen.data.mnist import Batch, ImageData
from mnist_gen.errors import UserError

CorruptedBatch = tuple[Tensor, Tensor, Tensor]  # corrupted images, the clean ones, labels


class CorruptedImages(ImageData):
    """Images to restore: each batch is a `CorruptedBatch`, the training ones corrupted anew each time.

    Validation and test batches are always corrupted in the same way.

    Args:
        noise: standard deviation of normal noise on each pixel.
        affine: strength of `augment.random_affine` before it; 0 for none.
        options: those of `ImageData`.

    Raises:
        UserError: `noise` or `affine` is negative.
    """

    def __init__(self, noise: float, affine: float, **options: Any) -> None:
        super().__init__(**options)
        for key, value in {"noise": noise, "affine": affine}.items():
            if value < 0:
                raise UserError(f"data.{key}={value}: must be at least 0.")
        self.noise, self.affine = noise, affine

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> CorruptedBatch:
        """Scales and pads on the device, then corrupts."""
        images, labels = super().on_after_batch_transfer(batch, dataloader_idx)
        if self.trainer is not None and self.trainer.training:
            return self.corrupted(images), images, labels
        with drawn_from(self.seed):
            return self.corrupted(images), images, labels

    def corrupted(self, images: Tensor) -> Tensor:
        """What the encoder gets to see of images in [0, 1], (N, 1, 32, 32)."""
        return noisy(random_affine(images, self.affine), self.noise)
