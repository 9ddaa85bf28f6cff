"""The GAN, conditional or not: an unconditional GAN is the conditional one without labels."""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from itertools import repeat
from typing import Any, cast

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from mnist_gen.autoencoder import Autoencoder
from mnist_gen.data import NUM_CLASSES
from mnist_gen.data.mnist import Batch, ImageData, chunks, to_images
from mnist_gen.errors import UserError, check_least
from mnist_gen.gan.classified_digits import ClassifiedDigits
from mnist_gen.gan.protocols import GeneratorProtocol, HasStatistics, PseudoLabels, SpaceProtocol, StartsPretrained
from mnist_gen.networks.encoders import STATISTICS
from mnist_gen.networks.inspection import Examples
from mnist_gen.networks.layers import label_vectors
from mnist_gen.training.adversarial import Loss, at_least_single, scores_and_penalty
from mnist_gen.training.optimization import descend, set_rates, update_average, warm_up_and_decay
from mnist_gen.training.processes import average, own_part
from mnist_gen.training.trainer import data_of
from mnist_gen.transfer.semi import SemiSupervised


class GAN(L.LightningModule):
    """Trains a generator and a discriminator in turn. Samples come from an exponential average of the generator.

    Pseudo-labels replace the labels of real images. If they are cluster numbers instead of digits, samples get random
    ones, and the GAN is unconditional.
    """

    replayable = True
    rate_names = ("lr_generator", "lr_discriminator")  # in TensorBoard
    in_use = ("averaged", "space", "pseudo_labels")  # after training, see `checkpoint.weights_in_use`
    averaged: GeneratorProtocol
    batches: Tensor

    def __init__(
        self,
        latent_dim: int,
        label: str | None,  # `onehot`, `embedding`, or None for an unconditional GAN
        embedding_dim: int,  # length of a learned label vector
        concat: str,  # where the label joins the generator: `before` or `after`, see `protocols`
        space: SpaceProtocol,  # of the game: images, or latents of a pretrained autoencoder
        generator: Callable[..., Any],  # makes a `GeneratorProtocol` from `latent_dim`, `label_vectors` and `concat`
        discriminator: Callable[..., nn.Module],  # makes a network from `label_vectors` that scores images or latents
        loss: Loss,
        generator_optimizer: Callable[..., Optimizer],
        discriminator_optimizer: Callable[..., Optimizer],
        r1: float,  # weight of the squared gradient norm at real images (Mescheder et al. 2018)
        r2: float,  # likewise at generated images
        penalised: float,  # share of each batch at which gradients are penalised
        mismatch: float,  # weight of the loss on real images with wrong labels, see `_mismatch`
        warmup: int,  # batches over which the learning rates rise
        decay_from: float,  # share of the run after which the rates fall linearly to 0; 1 keeps them constant
        ema_decay: float,  # of the averaged generator; smaller at first, so that the average forgets the start
        anneal: float = 1.0,  # share to which `r1` and `r2` fall over the run, geometrically
        latent_scale: float = 1.0,  # standard deviation of the latents of samples; in training it is 1
        pseudo_labels: PseudoLabels | None = None,  # replace the data set's labels
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        if label is None and pseudo_labels is not None:
            raise UserError("pseudo_labels are labels: set model.label=embedding or onehot, or ~model/pseudo_labels.")
        self.latent_dim, self.space, self.pseudo_labels = latent_dim, space, pseudo_labels
        self.conditional = label is not None and (pseudo_labels is None or pseudo_labels.are_digits)
        self.num_labels = NUM_CLASSES if pseudo_labels is None else pseudo_labels.count
        vectors = partial(label_vectors, label, embedding_dim, self.num_labels)
        self.generator = generator(latent_dim=latent_dim, label_vectors=vectors(), concat=concat)
        self.discriminator = discriminator(label_vectors=vectors())
        self._check_networks(labelled=label is not None)
        self.to(memory_format=torch.channels_last)  # 10 % faster on a CPU
        self.averaged = copy.deepcopy(self.generator).requires_grad_(False).eval()
        self.loss, self.r1, self.r2, self.penalised, self.mismatch = loss, r1, r2, penalised, mismatch
        self.generator_optimizer, self.discriminator_optimizer = generator_optimizer, discriminator_optimizer
        self.warmup, self.decay_from, self.ema_decay, self.anneal = warmup, decay_from, ema_decay, anneal
        self.latent_scale = latent_scale
        self.register_buffer("batches", torch.zeros(()), persistent=False)  # trained so far, on the device
        self.run_batches: int | float = 1  # of the whole run
        self._needs_statistics = False

    @torch.no_grad()
    def _check_networks(self, labelled: bool) -> None:
        """Passes one latent through both networks."""
        label = torch.zeros(1, dtype=torch.long) if labelled else None
        fake = copy.deepcopy(self.generator).eval()(torch.zeros(1, self.latent_dim), label)
        try:
            fits = fake.shape[1:] == self.space.shape and self.discriminator(fake, label).shape == (1,)
        except RuntimeError:
            fits = False
        if not fits:
            made = f"model.generator makes {tuple(fake.shape[1:])}, model.space holds {tuple(self.space.shape)}"
            raise UserError(f"{made}: space, generator and discriminator must all be of images, or all of latents.")

    @property
    def starts_from(self) -> list[str]:
        classifier = ["classifier"] if isinstance(self.pseudo_labels, ClassifiedDigits) else []
        return (["pretrained"] if self._pretrained_parts() else []) + classifier

    def start_from(self, pretrained: Autoencoder | None = None, classifier: SemiSupervised | None = None) -> None:
        if pretrained is not None:
            for part in self._pretrained_parts():
                part.start_from(pretrained.encoder, pretrained.decoder)
            self._needs_statistics = True
        if classifier is not None and isinstance(self.pseudo_labels, ClassifiedDigits):
            self.pseudo_labels.start_from(classifier)

    def _pretrained_parts(self) -> list[StartsPretrained]:
        return [part for part in self.modules() if isinstance(part, StartsPretrained) and part.starts_pretrained]

    def setup(self, stage: str) -> None:
        """With pseudo-labels, training batches bring positions instead of labels."""
        if stage != "fit":
            return
        data = data_of(self.trainer, ImageData)
        if self.pseudo_labels is not None:
            data.hides_labels = True
        elif self.conditional and data.hides_labels:
            raise UserError("data=partly_labelled hides the labels: choose data=mnist, or experiment=cgan_50_labels.")

    @torch.no_grad()
    def on_fit_start(self) -> None:
        """Fits latent statistics, unless they were restored from a checkpoint, and labels the training images."""
        images = data_of(self.trainer, ImageData).train.images
        if self._needs_statistics and isinstance(self.space, HasStatistics):
            self.space.fit(to_images(images[:STATISTICS]).to(self.device))
        if self.pseudo_labels is not None:
            self.pseudo_labels.fit(to_images(images).to(self.device))
        self._needs_statistics = False

    def examples(self) -> Examples:
        """The networks with their inputs."""
        labelled = self.generator.label_vectors is not None
        labels = (torch.zeros(2, dtype=torch.long, device=self.device),) if labelled else ()
        latents = torch.zeros(2, self.latent_dim, device=self.device)
        played = torch.zeros(2, *self.space.shape, device=self.device)  # images, or an autoencoder's latents
        return {
            "generator": (self.generator, (latents, *labels)),
            "discriminator": (self.discriminator, (played, *labels)),
        }

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LambdaLR]]:
        generator = self.generator_optimizer(self.generator.parameters())
        optimizers = [generator, self.discriminator_optimizer(self.discriminator.parameters())]
        self.run_batches = self.trainer.estimated_stepping_batches
        return optimizers, [warm_up_and_decay(o, self.run_batches, self.warmup, self.decay_from) for o in optimizers]

    def on_train_start(self) -> None:
        self.batches.fill_(self.global_step // 2)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        set_rates(self)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """One step of each network; returns both losses and the gradient penalty, detached."""
        images, digits_or_positions = batch
        with torch.no_grad():
            real = self.space.enter(images)
        labels = digits_or_positions if self.conditional else None
        if self.pseudo_labels is not None:
            labels = self.pseudo_labels(digits_or_positions)
        generator_optimizer, discriminator_optimizer = cast(list[Optimizer], self.optimizers())
        fake = self.generator(self._latents(len(real)), labels)

        # Discriminator: score real images above generated ones with the same labels.
        real_scores, fake_scores, penalty = scores_and_penalty(
            self.discriminator, real, fake.detach(), labels, self.r1, self.r2, self.penalised
        )
        loss_d = self.loss.discriminator(real_scores, fake_scores)
        mismatch = self._mismatch(real, labels, real_scores)
        left = self.anneal ** (self.batches / self.run_batches)  # of the penalty's weight
        descend(self, discriminator_optimizer, loss_d + left * penalty + mismatch)

        # Generator: score the same generated images above real ones, whose scores are those of before that step.
        loss_g = self.loss.generator(real_scores.detach(), at_least_single(self.discriminator(fake, labels)))
        descend(self, generator_optimizer, loss_g)
        self.batches += 1
        update_average(cast(nn.Module, self.averaged), self.generator, self.ema_decay, self.batches)
        losses = {"loss_d": loss_d.detach(), "loss_g": loss_g.detach(), "penalty": penalty.detach()}
        average([*losses.values()])
        return losses

    def _latents(self, count: int) -> Tensor:
        return own_part(lambda joint: torch.randn(joint, self.latent_dim, device=self.device), count)

    def _mismatch(self, real: Tensor, labels: Tensor | None, real_scores: Tensor) -> Tensor:
        """The weighted loss of telling right labels of real images from wrong ones (Reed et al. 2016).

        Without it the discriminator learns style long before digits. A quarter of the batch is enough.
        """
        if self.mismatch == 0 or labels is None:
            return torch.zeros((), device=self.device)
        few = -(-len(real) // 4)
        shifts = own_part(lambda joint: torch.randint(1, self.num_labels, (joint,), device=self.device), few)
        wrong = at_least_single(self.discriminator(real[:few], (labels[:few] + shifts) % self.num_labels))
        return self.mismatch * self.loss.discriminator(real_scores[:few], wrong)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Empty: Lightning needs it to run the loop in which `evaluation.MeasureSamples` measures."""

    test_step = validation_step

    def latents(self, count: int, random: torch.Generator) -> Tensor:
        """Random inputs for `generate`: normal latents (count, latent_dim), with clusters also label vectors."""
        latents = self.latent_scale * torch.randn(count, self.latent_dim, generator=random).to(self.device)
        if self.pseudo_labels is None or self.conditional or self.averaged.label_vectors is None:
            return latents
        drawn = self.pseudo_labels.draw(count, random).to(self.device)
        return torch.cat([latents, self.averaged.label_vectors(drawn)], dim=1)

    def typical_first(self, count: int, seed: int) -> Tensor:
        """As `latents`, by distance from the mean: the more unusual an image, the later it comes."""
        latents = self.latents(count, torch.Generator().manual_seed(seed))
        return latents[latents[:, : self.latent_dim].norm(dim=1).argsort()]

    @torch.no_grad()
    def generate(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Generates images (N, 1, 32, 32) in [0, 1] from `latents`, and of digits (N,) if the GAN is conditional."""
        vectors: Tensor | None = None
        if self.conditional and self.averaged.label_vectors is not None:
            vectors = self.averaged.label_vectors(labels)
        elif self.pseudo_labels is not None:
            latents, vectors = latents.tensor_split([self.latent_dim], dim=1)
        pairs = zip(chunks(latents), repeat(None) if vectors is None else chunks(vectors), strict=False)
        return torch.cat([self.space.leave(self.averaged.from_vectors(z, vector)) for z, vector in pairs])

    def sample(self, digit: int | Sequence[int] | None = None, count: int = 25, seed: int = 0) -> Tensor:
        """Samples images.

        Args:
            digit: the digit to show. Several digits are shown with the same latents: `count` images of the first, then
                of the second, ... Without it, a conditional GAN shows the digits 0 to 9 in turn, and an unconditional
                GAN any digits.
            count: images, of each digit if there are several.
            seed: equal seeds give equal images.

        Returns:
            Images (count, 1, 32, 32), or (digits x count, 1, 32, 32), in [0, 1].

        Raises:
            UserError: there is no such digit, or the GAN has no labels.
        """
        check_least("count", count, 1)
        if digit is not None and not self.conditional:
            raise UserError(f"digit={digit}: this GAN was trained without labels and cannot be asked for a digit.")
        latents = self.latents(count, torch.Generator().manual_seed(seed))
        if digit is None:
            labels = torch.arange(count, device=self.device) % NUM_CLASSES if self.conditional else None
            return self.generate(latents, labels)
        digits = [digit] if isinstance(digit, int) else list(digit)
        if not digits or not all(one in range(NUM_CLASSES) for one in digits):
            raise UserError(f"digit={digit}: choose 0 to {NUM_CLASSES - 1}.")
        labels = torch.tensor(digits, device=self.device).repeat_interleave(count)
        return self.generate(latents.repeat(len(digits), 1), labels)
