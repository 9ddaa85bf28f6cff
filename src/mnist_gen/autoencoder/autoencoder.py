"""A denoising autoencoder: it restores clean images from corrupted copies."""

from collections.abc import Callable

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer

from mnist_gen.data import IMAGE_SIZE
from mnist_gen.data.corrupted import CorruptedBatch
from mnist_gen.data.mnist import chunks
from mnist_gen.networks.inspection import Examples
from mnist_gen.training.optimization import with_schedule
from mnist_gen.training.trainer import split_of


class Autoencoder(L.LightningModule):
    """Encoder and decoder, trained to restore images in [0, 1] by binary cross-entropy (Vincent et al. 2008).

    `encoder(latent_dim)` makes the network from images to latents (N, latent_dim), `decoder(latent_dim)` the network
    from latents to pixel logits (N, 1, 32, 32). See `warm_up_and_decay` for `warmup` and `decay_from`.
    """

    validation_metrics = ("loss", "loss_clean")
    replayable = True

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
        self.latent_dim = latent_dim
        self.encoder, self.decoder = encoder(latent_dim), decoder(latent_dim)
        self.to(memory_format=torch.channels_last)  # faster on a CPU
        self.optimizer, self.warmup, self.decay_from = optimizer, warmup, decay_from

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        return with_schedule(self, self.optimizer(self.parameters()), self.warmup, self.decay_from)

    def training_step(self, batch: CorruptedBatch, batch_idx: int) -> Tensor:
        corrupted, clean, _ = batch
        return self._loss(corrupted, clean)

    def validation_step(self, batch: CorruptedBatch, batch_idx: int) -> None:
        """Logs `loss` on corrupted images and `loss_clean` on clean images."""
        corrupted, clean, _ = batch
        split = split_of(self.trainer)
        losses = {f"{split}/loss": self._loss(corrupted, clean), f"{split}/loss_clean": self._loss(clean, clean)}
        self.log_dict(losses, batch_size=len(clean), logger=False)

    test_step = validation_step

    def _loss(self, inputs: Tensor, clean: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(self.decoder(self.encoder(inputs)), clean)

    def examples(self) -> Examples:
        """The networks with their inputs."""
        images = torch.zeros(2, 1, IMAGE_SIZE, IMAGE_SIZE, device=self.device)
        latents = torch.zeros(2, self.latent_dim, device=self.device)
        return {"encoder": (self.encoder, (images,)), "decoder": (self.decoder, (latents,))}

    def forward(self, images: Tensor) -> Tensor:
        """Restores images (N, 1, 32, 32) in [0, 1]."""
        return self.decode(self.encode(images))

    def encode(self, images: Tensor) -> Tensor:
        """Latents (N, latent_dim) of images (N, 1, 32, 32) in [0, 1]."""
        return torch.cat([self.encoder(chunk) for chunk in chunks(images)])

    def decode(self, latents: Tensor) -> Tensor:
        """Images (N, 1, 32, 32) in [0, 1] of latents (N, latent_dim)."""
        return torch.cat([self.decoder(chunk) for chunk in chunks(latents)]).sigmoid()
