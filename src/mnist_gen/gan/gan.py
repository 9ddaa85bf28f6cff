"""The adversarial game. A GAN is the conditional GAN without labels, so one module plays both."""

import copy
from collections.abc import Callable
from functools import partial
from itertools import repeat
from typing import cast

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from mnist_gen.autoencoder import Autoencoder
from mnist_gen.data.mnist import CHUNK, NUM_CLASSES, Batch, ImageData, to_images
from mnist_gen.errors import UserError
from mnist_gen.gan.clusters import Clusters
from mnist_gen.gan.spaces import Codes, Pixels
from mnist_gen.networks.encoders import STATISTICS
from mnist_gen.networks.generators import CodeGenerator, Generator
from mnist_gen.networks.label_vectors import label_code
from mnist_gen.training.adversarial import Loss, scored
from mnist_gen.training.optimization import descend, move_average, warm_up_and_decay
from mnist_gen.training.trainer import data_of


class GAN(L.LightningModule):
    """Generator and discriminator, trained in turn; an exponential moving average of the generator is what counts.

    Args:
        latent_dim: length of a latent.
        label: `onehot`, `embedding`, or None for an unconditional GAN.
        embedding_dim: length of a label's embedding.
        concat: where the label joins the generator, `before` or `after` the decoder.
        space: where the game is played: `spaces.Pixels`, or `spaces.Codes` of a pretrained autoencoder.
        generator: makes a network from latents to points of that space, from `latent_dim`, `code`, the labels' vectors,
            and `concat`.
        discriminator: makes a network that scores them, from a `code` of its own.
        loss: the adversarial loss, see `losses`.
        generator_optimizer: makes an optimizer from parameters.
        discriminator_optimizer: the same.
        r1: weight of the penalty on the squared gradient norm at real images (Mescheder et al. 2018).
        r2: the same at generated images.
        mismatch: weight of scoring real images under their own labels above the same under wrong ones, on a quarter
            of each batch (Reed et al. 2016): without it D learns style long before it learns to read.
        warmup: batches over which the learning rates rise to their value.
        decay_from: share of the run after which they fall linearly to 0; 1 keeps them.
        ema_decay: of the averaged generator; it ramps up to it, so that early averages forget the start.
        clusters: what labels are in place of digits, if that is asked for. The players are told the cluster of each
            training image, and one is drawn for each sample, so that the GAN is unconditional too.

    Raises:
        UserError: `latent_dim` is below 1, clusters without labels, or the players and the space do not go together.
    """

    def __init__(
        self,
        latent_dim: int,
        label: str | None,
        embedding_dim: int,
        concat: str,
        space: Pixels | Codes,
        generator: Callable[..., Generator | CodeGenerator],
        discriminator: Callable[..., nn.Module],
        loss: Loss,
        generator_optimizer: Callable[..., Optimizer],
        discriminator_optimizer: Callable[..., Optimizer],
        r1: float,
        r2: float,
        mismatch: float,
        warmup: int,
        decay_from: float,
        ema_decay: float,
        clusters: Clusters | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        if latent_dim < 1:
            raise UserError(f"latent_dim={latent_dim}: must be at least 1.")
        if label is None and clusters is not None:
            raise UserError("clusters are labels: choose model.label=embedding or onehot, or model/clusters=null.")
        self.latent_dim, self.space, self.clusters = latent_dim, space, clusters
        self.conditional = label is not None and clusters is None
        self.num_labels = NUM_CLASSES if clusters is None else clusters.count
        code = partial(label_code, label, embedding_dim, self.num_labels)
        self.generator = generator(latent_dim=latent_dim, code=code(), concat=concat)
        self.discriminator = discriminator(code=code())
        self._check_players()
        self.to(memory_format=torch.channels_last)  # a tenth faster on a CPU
        self.averaged = copy.deepcopy(self.generator).requires_grad_(False).eval()
        self.loss, self.r1, self.r2 = loss, r1, r2
        self.mismatch = mismatch
        self.generator_optimizer, self.discriminator_optimizer = generator_optimizer, discriminator_optimizer
        self.warmup, self.decay_from, self.ema_decay = warmup, decay_from, ema_decay
        self._fresh = False  # started from an autoencoder and not yet trained

    @torch.no_grad()
    def _check_players(self) -> None:
        """Lets both play on one point."""
        generator, discriminator = copy.deepcopy(self.generator).eval(), self.discriminator
        label = None if generator.code is None else torch.zeros(1, dtype=torch.long)
        point = generator(torch.zeros(1, self.latent_dim), label)
        try:
            fits = point.shape[1:] == self.space.shape and discriminator(point, label).shape == (1,)
        except RuntimeError:
            fits = False
        if not fits:
            raise UserError("model.space, generator and discriminator: all must be of images, or all of codes.")

    @property
    def starts_from(self) -> str | None:
        """The autoencoder from which a part of it starts, if one does."""
        return "pretrained" if any(part.starts_pretrained for part in self._parts()) else None

    def start_from(self, autoencoder: Autoencoder) -> None:
        """Takes a pretrained autoencoder's weights: the networks of a space, or the generator's decoder."""
        for part in self._parts():
            part.start_from(autoencoder.encoder, autoencoder.decoder)
        self._fresh = True

    def _parts(self) -> list[Pixels | Codes | Generator | CodeGenerator | Clusters]:
        """What may start from an autoencoder."""
        return [self.space, self.generator, self.averaged, *([] if self.clusters is None else [self.clusters])]

    @torch.no_grad()
    def on_fit_start(self) -> None:
        """Takes from the training images what no checkpoint brought: statistics of their codes, and clusters."""
        data = data_of(self.trainer, ImageData)
        if self._fresh:
            self.space.fit(to_images(data.train.images[:STATISTICS]).to(self.device))
        if self.clusters is not None and not self.clusters.found:
            self.clusters.fit(to_images(data.train.images).to(self.device))
        self._fresh = False

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LambdaLR]]:
        """Both optimizers, each with warm-up and linear decay counted in batches."""
        optimizers = [
            self.generator_optimizer(self.generator.parameters()),
            self.discriminator_optimizer(self.discriminator.parameters()),
        ]
        batches = self.trainer.estimated_stepping_batches
        return optimizers, [warm_up_and_decay(o, batches, self.warmup, self.decay_from) for o in optimizers]

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """One step of each network; returns both losses and the gradient penalty, detached."""
        images, digits = batch
        with torch.no_grad():
            real = self.space.enter(images)
            asked = self._labels(images, digits)
        generator_optimizer, discriminator_optimizer = cast(list[Optimizer], self.optimizers())

        # Discriminator: score real images above generated ones of the same labels.
        fake = self.generator(self._latents(len(real)), asked).detach()
        twice = None if asked is None else asked.repeat(2)
        real_scores, fake_scores, penalty = scored(
            lambda points: self.discriminator(points, twice), real, fake, self.r1, self.r2
        )
        loss_d = self.loss.discriminator(real_scores, fake_scores)
        mismatch = self._mismatch(real, asked, real_scores)
        step = self.global_step // 2
        descend(self, discriminator_optimizer, loss_d + penalty + mismatch, step, "discriminator's loss")

        # Generator: score generated images above real ones.
        fake = self.generator(self._latents(len(real)), asked)
        with torch.no_grad():
            real_scores = self.discriminator(real, asked)
        loss_g = self.loss.generator(real_scores, self.discriminator(fake, asked))
        descend(self, generator_optimizer, loss_g, step, "generator's loss")
        move_average(self.averaged, self.generator, self.ema_decay, self.global_step // 2)

        for scheduler in cast(list[LambdaLR], self.lr_schedulers()):
            scheduler.step()
        return {"loss_d": loss_d.detach(), "loss_g": loss_g.detach(), "penalty": penalty.detach()}

    def _labels(self, images: Tensor, digits: Tensor) -> Tensor | None:
        """What the players are told of images (N, 1, 32, 32) of digits (N,)."""
        if self.clusters is not None:
            return self.clusters(images)
        return digits if self.conditional else None

    def _latents(self, count: int) -> Tensor:
        return torch.randn(count, self.latent_dim, device=self.device)

    def _mismatch(self, real: Tensor, labels: Tensor | None, real_scores: Tensor) -> Tensor:
        """Weighted loss of telling a quarter of the real images from the same images under wrong labels."""
        if self.mismatch == 0 or labels is None:
            return torch.zeros((), device=self.device)
        few = -(-len(real) // 4)
        wrong = (labels[:few] + torch.randint(1, self.num_labels, (few,), device=self.device)) % self.num_labels
        return self.mismatch * self.loss.discriminator(real_scores[:few], self.discriminator(real[:few], wrong))

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Nothing: `evaluation.Judge` compares the averaged generator with the real images."""

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Nothing, for the same reason."""

    def latents(self, count: int, random: torch.Generator) -> Tensor:
        """Random points from which `generate` makes images: normal latents (count, latent_dim), on the model's device.

        With clusters each goes on with the code of one, drawn too.
        """
        latents = torch.randn(count, self.latent_dim, generator=random).to(self.device)
        if self.clusters is None or self.averaged.code is None:
            return latents
        drawn = self.clusters.draw(count, random).to(self.device)
        return torch.cat([latents, self.averaged.code(drawn)], dim=1)

    @torch.no_grad()
    def generate(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """The averaged generator's images (N, 1, 32, 32) in [0, 1] for latents as above, and labels (N,) of digits."""
        codes: Tensor | None = None
        if self.clusters is not None:
            latents, codes = latents.tensor_split([self.latent_dim], dim=1)
        elif self.averaged.code is not None:
            codes = self.averaged.code(labels)
        pairs = zip(latents.split(CHUNK), repeat(None) if codes is None else codes.split(CHUNK), strict=False)
        return torch.cat([self.space.leave(self.averaged.paint(z, code)) for z, code in pairs])

    def sample(self, digit: int | None = None, count: int = 25, seed: int = 0) -> Tensor:
        """`count` images (count, 1, 32, 32) in [0, 1] of one digit, or of the digits 0 to 9 in turn.

        Those of an unconditional GAN show any digits. The same seed gives the same images.

        Raises:
            UserError: `count` is below 1, or there is no such digit, or the GAN is unconditional and cannot be
                asked for one.
        """
        if count < 1:
            raise UserError(f"count={count}: must be at least 1.")
        if digit is not None and not self.conditional:
            raise UserError(f"digit={digit}: this GAN was trained without labels and cannot be asked for a digit.")
        if digit is not None and digit not in range(NUM_CLASSES):
            raise UserError(f"digit={digit}: choose 0 to {NUM_CLASSES - 1}.")
        latents = self.latents(count, torch.Generator().manual_seed(seed))
        labels = torch.arange(count) % NUM_CLASSES if digit is None else torch.full((count,), digit)
        return self.generate(latents, labels.to(self.device) if self.conditional else None)
