"""Corrupted images with their originals, for denoising autoencoders."""

from typing import Any

from torch import Tensor

from mnist_gen.data.augment import drawn_from, noisy, random_affine
from mnist_gen.data.mnist import Batch, ImageData

CorruptedBatch = tuple[Tensor, Tensor, Tensor]  # corrupted images, clean images, labels


class CorruptedImages(ImageData):
    """Batches of type `CorruptedBatch`. Training images are corrupted anew each time, the others always identically.

    `affine` is the strength of `random_affine`, applied before noise with the standard deviation `noise`; `options` are
    those of `ImageData`.
    """

    def __init__(self, noise: float, affine: float, **options: Any) -> None:
        super().__init__(**options)
        self.noise, self.affine = noise, affine

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> CorruptedBatch:
        images, labels = super().on_after_batch_transfer(batch, dataloader_idx)
        if self.trainer is not None and self.trainer.training:
            return self.corrupted(images), images, labels
        with drawn_from(self.seed):
            return self.corrupted(images), images, labels

    def corrupted(self, images: Tensor) -> Tensor:
        """Corrupts images (N, 1, 32, 32) in [0, 1]."""
        return noisy(random_affine(images, self.affine), self.noise)
