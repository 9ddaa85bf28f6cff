"""Transfer learning: heads on a pretrained encoder, trained on a few labels.

D draws of labels are trained side by side, each with its own classifier. For each draw, F further classifiers each
leave out one fold of the labels. Their mean loss on the left-out folds selects the epoch whose classifier the draw
keeps, so early stopping uses no further label or image.
"""

import copy
from collections.abc import Callable
from itertools import chain
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from mnist_gen.autoencoder import Autoencoder
from mnist_gen.data.augment import drawn_from, noisy, random_affine
from mnist_gen.data.few_labels import FewLabels, LabelledBatch
from mnist_gen.data.mnist import Batch, to_images
from mnist_gen.errors import UserError, check_at_least, check_choice
from mnist_gen.networks.encoders import STATISTICS, StandardizedEncoder
from mnist_gen.training.curves import checked_history
from mnist_gen.training.optimization import check_finite, update_average
from mnist_gen.training.trainer import data_of
from mnist_gen.transfer.losses import losses_and_hits

ARMS = ("frozen", "finetune", "scratch")
LATENTS = ("raw", "standardized", "whitened")


class HeadOnEncoder(nn.Module):
    """A classifier: a head with its own encoder, on images; without an encoder, on latents."""

    def __init__(self, encoder: StandardizedEncoder | None, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(inputs if self.encoder is None else self.encoder(inputs))


class Transfer(L.LightningModule):
    """Heads on an encoder, one for each draw of labels, trained by cross-entropy with early stopping.

    Args:
        latent_dim: length of a latent.
        encoder: `encoder(latent_dim)` makes the network from images to latents.
        head: `head(latent_dim)` makes the network from latents to logits (N, 10).
        arm: `frozen`, a fixed pretrained encoder; `finetune`, a pretrained encoder that is trained too; `scratch`, an
            encoder trained from random weights. "Composition" in the student report is `scratch` in its code and
            `finetune` in its text.
        latents: of a pretrained encoder: `raw`; `standardized` to mean 0 and deviation 1 over unlabelled images; or
            `whitened` by the covariance of latent shifts under augmentation of unlabelled images.
        augment: strength of `augment.random_affine` on labelled images; 0 for none.
        noise: standard deviation of the noise on labelled images.
        views: latents per labelled image with a frozen encoder: one of the image, the others of augmented copies.
        optimizer: makes an optimizer from parameter groups. Its weight decay applies to heads only.
        encoder_rate: learning rate of a trained encoder, as a share of the head's.
        ema_decay: of the moving averages of weights that are evaluated and kept; 0 uses the weights themselves.
        draws: D.
        folds: F; with 0, the validation loss stops the training.
        patience: epochs without a lower loss after which a draw is done.

    Raises:
        UserError: a value is out of range.
    """

    best_loss: Tensor
    best_epoch: Tensor
    done: Tensor
    _labelled_latents: Tensor  # (V, D, N, latent_dim), with a frozen encoder

    validation_metrics = ("loss", "accuracy")

    def __init__(
        self,
        latent_dim: int,
        encoder: Callable[..., nn.Module],
        head: Callable[..., nn.Module],
        arm: str,
        latents: str,
        augment: float,
        noise: float,
        views: int,
        optimizer: Callable[..., Optimizer],
        encoder_rate: float,
        ema_decay: float,
        draws: int,
        folds: int,
        patience: int,
    ) -> None:
        super().__init__()
        check_choice("model.arm", arm, ARMS)
        check_choice("model.latents", latents, LATENTS)
        check_at_least(1, "model", views=views, patience=patience)
        check_at_least(0, "model", augment=augment, noise=noise, encoder_rate=encoder_rate)
        if not 0 <= ema_decay < 1:
            raise UserError(f"model.ema_decay={ema_decay}: must be at least 0 and below 1.")
        if latents == "whitened" and not (augment or noise):
            raise UserError(
                "model.latents=whitened: needs augmentation; set model.augment or model.noise, or other model.latents."
            )
        self.arm, self.latents, self.augment, self.noise, self.views = arm, latents, augment, noise, views
        self.optimizer, self.encoder_rate, self.ema_decay, self.patience = optimizer, encoder_rate, ema_decay, patience

        def make() -> StandardizedEncoder:
            return StandardizedEncoder(encoder(latent_dim), latent_dim, whiten=latents == "whitened")

        frozen = arm == "frozen"
        self.encoder = make().requires_grad_(False) if frozen else None
        self.classifiers = [  # for each draw, F that leave out a fold, and one that leaves out nothing
            [HeadOnEncoder(None if frozen else make(), head(latent_dim)) for _ in range(folds + 1)]
            for _ in range(draws)
        ]
        self.evaluated = copy.deepcopy(self.classifiers) if ema_decay else self.classifiers
        self.best = [copy.deepcopy(group[-1]) for group in self.classifiers]  # of each draw, at its best epoch
        self.learning = nn.ModuleList(chain(*self.classifiers))
        self.averaged = nn.ModuleList(chain(*self.evaluated) if ema_decay else ()).requires_grad_(False)
        self.kept = nn.ModuleList(self.best).requires_grad_(False)
        self.to(memory_format=torch.channels_last)  # faster on a CPU
        self.register_buffer("best_loss", torch.full((draws,), torch.finfo(torch.float).max))
        self.register_buffer("best_epoch", torch.zeros(draws, dtype=torch.long))
        self.register_buffer("done", torch.zeros(draws, dtype=torch.bool))
        self.folds = [[*range(folds)] for _ in range(draws)]  # of each draw, without empty ones
        self.history: dict[str, list[list[float]]] = {}  # a row per epoch, a column per draw
        self._validation_latents: dict[int, Tensor] = {}  # of each batch, with a frozen encoder
        self._validated: list[Tensor] = []  # (D, 2, N) of each batch
        self._fits_latents = False  # whether `setup` fits the encoders' statistics

    def _encoders(self) -> list[StandardizedEncoder]:
        return [module for module in self.modules() if isinstance(module, StandardizedEncoder)]

    @property
    def starts_from(self) -> str | None:
        """The config group of the pretrained autoencoder, or None from scratch."""
        return None if self.arm == "scratch" else "pretrained"

    def start_from(self, autoencoder: Autoencoder) -> None:
        """Takes the weights of a pretrained encoder."""
        for encoder in self._encoders():
            encoder.network.load_state_dict(autoencoder.encoder.state_dict())
        self._fits_latents = self.latents != "raw"

    @torch.no_grad()
    def setup(self, stage: str) -> None:
        """Fits the statistics of a pretrained encoder's latents to unlabelled images."""
        if self._fits_latents:
            encoders = self._encoders()
            encoder = encoders[0].eval()
            images = to_images(data_of(self.trainer, FewLabels).train.images[:STATISTICS].cpu())
            with drawn_from(torch.initial_seed()):  # the same in a resumed run
                shifted = encoder.latents(self._augmented(images)) if self.latents == "whitened" else None
            latents = encoder.latents(images)
            for encoder in encoders:
                encoder.fit(latents, shifted)
        self._fits_latents = False

    def train(self, mode: bool = True) -> "Transfer":
        """Keeps pretrained encoders in evaluation mode: batch statistics of a few labelled images are worse."""
        super().train(mode)
        if self.arm != "scratch":
            for encoder in self._encoders():
                encoder.eval()
        return self

    def configure_optimizers(self) -> Optimizer:
        """One optimizer for all classifiers, which train independently because they share no trained weights."""
        classifiers = [*chain(*self.classifiers)]
        optimizer = self.optimizer([{"params": [w for each in classifiers for w in each.head.parameters()]}])
        if self.encoder is None:
            weights = [w for each in classifiers if each.encoder is not None for w in each.encoder.parameters()]
            rate = optimizer.param_groups[0]["lr"] * self.encoder_rate
            # the head's decay kills an encoder without batch normalisation; a pretrained one with it loses half a point
            optimizer.add_param_group({"params": weights, "lr": rate, "weight_decay": 0.0})
        return optimizer

    @torch.no_grad()
    def on_train_start(self) -> None:
        """Finds the folds that have images; encodes all views of the labelled images with a frozen encoder.

        A resumed run stops if all draws are done.
        """
        self.trainer.should_stop = bool(self.done.all())
        labelled = data_of(self.trainer, FewLabels).labelled
        self.folds = [folds[folds >= 0].unique().tolist() for folds in labelled.folds]
        if self.encoder is not None:
            raw = labelled.images.to(self.device)
            images = to_images(raw.flatten(0, 1))
            with drawn_from(torch.initial_seed()):
                views = [images, *(self._augmented(images) for _ in range(self.views - 1))]
            latents = torch.stack([self.encoder(view) for view in views])  # (V, D N, latent_dim)
            self._labelled_latents = latents.unflatten(1, raw.shape[:2])  # (V, D, N, latent_dim)

    def training_step(self, batch: LabelledBatch, batch_idx: int) -> dict[str, Tensor]:
        """The loss sums over the classifiers that are not done; `cross_entropy` is their mean."""
        images, labels, folds, positions = batch
        if self.encoder is None:
            inputs = self._augmented(images.flatten(0, 1)).unflatten(0, (1, *labels.shape))  # (1, D, N, 1, 32, 32)
        else:
            inputs = self._labelled_latents[:, :, positions]  # (V, D, N, latent_dim)
        losses = [
            _cross_entropy(self.classifiers[draw][fold], inputs[:, draw, known], labels[draw, known])
            for draw in self._unfinished_draws()
            for fold in (*self.folds[draw], len(self.classifiers[draw]) - 1)
            if (known := folds[draw] != fold).any()
        ]
        loss = torch.stack(losses).sum()
        check_finite(loss, self, self.global_step)
        return {"loss": loss, "cross_entropy": loss.detach() / len(losses)}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Also updates the moving averages of the draws that are not done."""
        super().optimizer_step(*args, **kwargs)
        for draw in self._unfinished_draws() if self.ema_decay else ():
            for average, classifier in zip(self.evaluated[draw], self.classifiers[draw], strict=True):
                update_average(average, classifier, self.ema_decay, self.global_step)

    def _unfinished_draws(self) -> list[int]:
        return (~self.done).nonzero().flatten().tolist()

    def _augmented(self, images: Tensor) -> Tensor:
        return noisy(random_affine(images, self.augment), self.noise)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        inputs, labels = batch
        if self.encoder is not None:
            if batch_idx not in self._validation_latents:
                self._validation_latents[batch_idx] = self.encoder(inputs)
            inputs = self._validation_latents[batch_idx]
        losses = [losses_and_hits(group[-1](inputs), labels) for group in self.evaluated]
        self._validated.append(torch.stack(losses))  # (D, 2, N)

    def on_validation_epoch_end(self) -> None:
        """Keeps the classifiers that improved, and stops when all draws are done."""
        groups = {"val": torch.cat(self._validated, dim=2).mean(dim=2), **self._evaluate_labelled()}  # (D, 2) each
        self._validated = []
        for group, values in groups.items():
            for name, column in zip(("loss", "accuracy"), values.T, strict=True):
                self.history.setdefault(f"{group}/{name}", []).append(column.tolist())
                self.log(f"{group}/{name}", column.mean(), logger=False)
        criterion = "held_out" if "held_out" in groups else "learnt" if len(self.classifiers[0]) > 1 else "val"
        self._keep_better(groups[criterion][:, 0])
        self.trainer.should_stop = bool(self.done.all())

    def _keep_better(self, losses: Tensor) -> None:
        better = (losses < self.best_loss) & ~self.done
        self.best_loss = torch.where(better, losses, self.best_loss)
        self.best_epoch[better] = self.current_epoch + 1
        for draw in better.nonzero().flatten().tolist():
            self.best[draw].load_state_dict(self.evaluated[draw][-1].state_dict())
        self.done |= self.current_epoch + 1 - self.best_epoch >= self.patience

    def _evaluate_labelled(self) -> dict[str, Tensor]:
        """Loss and accuracy (D, 2): `learnt`, on all labels; `held_out`, on each fold by the classifier without it."""
        labelled = data_of(self.trainer, FewLabels).labelled
        learnt, held_out = [], []
        for draw, group in enumerate(self.evaluated):
            labels, folds = labelled.labels[draw].to(self.device), labelled.folds[draw].to(self.device)
            if self.encoder is None:
                inputs = to_images(labelled.images[draw].to(self.device))
            else:
                inputs = self._labelled_latents[0, draw]
            learnt.append(losses_and_hits(group[-1](inputs), labels).mean(dim=1))
            of_folds = [
                losses_and_hits(classifier(inputs[at]), labels[at])
                for fold, classifier in enumerate(group[:-1])
                if len(at := (folds == fold).nonzero().flatten())
            ]
            if of_folds:
                held_out.append(torch.cat(of_folds, dim=1).mean(dim=1))
        return {"learnt": torch.stack(learnt)} | ({"held_out": torch.stack(held_out)} if held_out else {})

    def forward(self, images: Tensor) -> Tensor:
        """Logits (D, N, 10) of images (N, 1, 32, 32) in [0, 1], by each draw's kept classifier."""
        inputs = images if self.encoder is None else self.encoder(images)
        return torch.stack([classifier(inputs) for classifier in self.best])

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Does nothing, but Lightning needs it to test; `callbacks.MeasureDigits` computes the metrics."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = checked_history(checkpoint["history"])


def _cross_entropy(classifier: HeadOnEncoder, views: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of V views (V, N, ...) of N labelled images."""
    return F.cross_entropy(classifier(views.flatten(0, 1)), labels.repeat(len(views)))
