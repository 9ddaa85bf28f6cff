"""The autoencoder that restores images: what a corrupted copy was made from."""

from collections.abc import Callable

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer

from mnist_gen.data.corrupted import CorruptedBatch
from mnist_gen.data.mnist import CHUNK
from mnist_gen.errors import UserError
from mnist_gen.training.optimization import refuse_unless_finite, warm_up_and_decay


class Autoencoder(L.LightningModule):
    """Encoder and decoder, trained to restore images in [0, 1] by binary cross-entropy (Vincent et al. 2008).

    Args:
        latent_dim: length of a latent.
        encoder: makes the network from images to latents (N, latent_dim), given that length.
        decoder: makes the network from latents to pixel logits (N, 1, 32, 32).
        optimizer: makes an optimizer from parameters.
        warmup: batches over which the learning rate rises to its value.
        decay_from: share of the run after which it falls linearly to 0; 1 keeps it.
    """

    def __init__(
        self,
        latent_dim: int,
        encoder: Callable[..., nn.Module],
        decoder: Callable[..., nn.Module],
        optimizer: Callable[..., Optimizer],
        warmup: int,
        decay_from: float,
    ) -> None:
        super().__init__()
        if latent_dim < 1:
            raise UserError(f"latent_dim={latent_dim}: must be at least 1.")
        self.latent_dim = latent_dim
        self.encoder, self.decoder = encoder(latent_dim), decoder(latent_dim)
        self.to(memory_format=torch.channels_last)  # faster on a CPU
        self.optimizer, self.warmup, self.decay_from = optimizer, warmup, decay_from

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimizer and its schedule, stepped each batch."""
        optimizer = self.optimizer(self.parameters())
        batches = self.trainer.estimated_stepping_batches
        schedule = warm_up_and_decay(optimizer, batches, self.warmup, self.decay_from)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def training_step(self, batch: CorruptedBatch, batch_idx: int) -> Tensor:
        """The loss of restoring corrupted images."""
        corrupted, clean, _ = batch
        loss = self._loss(corrupted, clean)
        refuse_unless_finite(loss, self, self.global_step)
        return loss

    def validation_step(self, batch: CorruptedBatch, batch_idx: int) -> None:
        """Logs `val/loss`, of corrupted images, and `val/loss_clean`, of clean ones."""
        self._evaluate("val", batch)

    def test_step(self, batch: CorruptedBatch, batch_idx: int) -> None:
        """Logs `test/loss` and `test/loss_clean`."""
        self._evaluate("test", batch)

    def _evaluate(self, split: str, batch: CorruptedBatch) -> None:
        corrupted, clean, _ = batch
        losses = {"loss": self._loss(corrupted, clean), "loss_clean": self._loss(clean, clean)}
        self.log_dict({f"{split}/{name}": loss for name, loss in losses.items()}, batch_size=len(clean), logger=False)

    def _loss(self, seen: Tensor, clean: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(self.decoder(self.encoder(seen)), clean)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 1, 32, 32) in [0, 1] restored."""
        return self.decode(self.encode(images))

    def encode(self, images: Tensor) -> Tensor:
        """Latents (N, latent_dim) of images (N, 1, 32, 32) in [0, 1]."""
        return torch.cat([self.encoder(chunk) for chunk in images.split(CHUNK)])

    def decode(self, latents: Tensor) -> Tensor:
        """Images (N, 1, 32, 32) in [0, 1] of latents (N, latent_dim)."""
        return torch.cat([self.decoder(chunk) for chunk in latents.split(CHUNK)]).sigmoid()
