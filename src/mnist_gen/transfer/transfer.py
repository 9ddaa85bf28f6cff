"""Transfer learning: heads on a pretrained encoder, trained on a few labels.

D draws of labels are trained side by side, each with its own classifier. For each draw, F further classifiers each
leave out one fold of the labels. Their mean loss on the left-out folds selects the epoch whose classifier the draw
keeps, so early stopping uses no further label or image. Without folds, the validation loss selects it.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable
from itertools import chain
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from mnist_gen.autoencoder import Autoencoder
from mnist_gen.data import IMAGE_SIZE
from mnist_gen.data.augment import drawn_from, noisy, random_affine
from mnist_gen.data.few_labels import FewLabels, LabelledBatch
from mnist_gen.data.mnist import Batch, to_images
from mnist_gen.errors import UserError
from mnist_gen.networks.encoders import STATISTICS, StandardizedEncoder
from mnist_gen.networks.inspection import Examples
from mnist_gen.training.curves import checked_history
from mnist_gen.training.optimization import update_average
from mnist_gen.training.trainer import data_of
from mnist_gen.transfer.losses import History, log_epoch, losses_and_hits


class Transfer(L.LightningModule):
    """Heads on an encoder, one for each draw of labels, trained by cross-entropy with early stopping.

    The arms are `frozen`, a fixed pretrained encoder; `finetune`, a pretrained encoder that is trained too; and
    `scratch`, an encoder trained from random weights. "Composition" in the student report is `scratch` in its code and
    `finetune` in its text.
    """

    best_loss: Tensor
    best_epoch: Tensor
    done: Tensor
    _labelled_latents: Tensor  # (V, D, N, latent_dim), with a frozen encoder
    validation_metrics = ("loss", "accuracy")
    in_use = ("encoder", "kept")

    def __init__(
        self,
        latent_dim: int,
        encoder: Callable[..., nn.Module],  # `encoder(latent_dim)` maps images to latents
        head: Callable[..., nn.Module],  # `head(latent_dim)` maps latents to logits (N, 10)
        arm: str,
        latents: str,  # of a pretrained encoder: `raw`, `standardized` or `whitened`, see `StandardizedEncoder`
        augment: float,  # strength of `augment.random_affine` on labelled images; 0 for none
        noise: float,  # standard deviation of the noise on labelled images
        views: int,  # latents per labelled image with a frozen encoder: of the image, and of augmented copies
        optimizer: Callable[..., Optimizer],  # its weight decay applies to heads only
        encoder_rate: float,  # learning rate of a trained encoder, as a share of the head's
        ema_decay: float,  # of the averaged weights that are evaluated and kept; 0 uses the weights themselves
        draws: int,  # D
        folds: int,  # F
        patience: int,  # epochs without a lower loss after which a draw is done
    ) -> None:
        super().__init__()
        if latents == "whitened" and not (augment or noise):
            raise UserError("model.latents=whitened needs augmentation: set model.augment or model.noise.")
        self.arm, self.latents, self.augment, self.noise, self.views = arm, latents, augment, noise, views
        self.optimizer, self.encoder_rate, self.ema_decay, self.patience = optimizer, encoder_rate, ema_decay, patience

        def new_encoder() -> StandardizedEncoder:
            return StandardizedEncoder(encoder(latent_dim), latent_dim, whiten=latents == "whitened")

        def classifier() -> nn.Sequential:  # on images; with a frozen encoder, on its latents
            own = {} if arm == "frozen" else {"encoder": new_encoder()}
            return nn.Sequential(OrderedDict(**own, head=head(latent_dim)))

        self.encoder = new_encoder().requires_grad_(False) if arm == "frozen" else None
        # for each draw, F that leave out a fold, and one that leaves out nothing
        self.classifiers = [[classifier() for _ in range(folds + 1)] for _ in range(draws)]
        self.evaluated = copy.deepcopy(self.classifiers) if ema_decay else self.classifiers
        self.best = [copy.deepcopy(group[-1]) for group in self.classifiers]  # of each draw, at its best epoch
        self.learning = nn.ModuleList(chain(*self.classifiers))
        self.averaged = nn.ModuleList(chain(*self.evaluated) if ema_decay else ()).requires_grad_(False)
        self.kept = nn.ModuleList(self.best).requires_grad_(False)
        if self.encoder is not None:
            self.encoder.eval()  # for the whole run: keeps the pretrained batch statistics
        self.to(memory_format=torch.channels_last)  # faster on a CPU
        self.register_buffer("best_loss", torch.full((draws,), torch.finfo(torch.float).max))
        self.register_buffer("best_epoch", torch.zeros(draws, dtype=torch.long))
        self.register_buffer("done", torch.zeros(draws, dtype=torch.bool))
        self.folds = [[*range(folds)] for _ in range(draws)]  # of each draw, without empty ones
        self.history: History = {}
        self._validation_latents: dict[int, Tensor] = {}  # of each batch, with a frozen encoder
        self._validated: list[Tensor] = []  # (D, 2, N) of each batch
        self._fits_latents = False  # whether `setup` fits the encoders' statistics

    def _encoders(self) -> list[StandardizedEncoder]:
        return [module for module in self.modules() if isinstance(module, StandardizedEncoder)]

    @property
    def starts_from(self) -> list[str]:
        return [] if self.arm == "scratch" else ["pretrained"]

    def start_from(self, pretrained: Autoencoder) -> None:
        for encoder in self._encoders():
            encoder.network.load_state_dict(pretrained.encoder.state_dict())
        self._fits_latents = self.latents != "raw"

    @torch.no_grad()
    def setup(self, stage: str) -> None:
        """Fits the statistics of a pretrained encoder's latents to unlabelled images."""
        if self._fits_latents:
            encoder = copy.deepcopy(self._encoders()[0]).eval()
            images = to_images(data_of(self.trainer, FewLabels).train.images[:STATISTICS].cpu())
            with drawn_from(torch.initial_seed()):  # the same in a resumed run
                shifted = encoder.latents(self._augmented(images)) if self.latents == "whitened" else None
            latents = encoder.latents(images)
            for own in self._encoders():
                own.fit(latents, shifted)
        self._fits_latents = False

    def configure_optimizers(self) -> Optimizer:
        """One optimizer for all classifiers, which train independently because they share no trained weights."""
        classifiers = [*chain(*self.classifiers)]
        optimizer = self.optimizer([{"params": [w for each in classifiers for w in each[-1].parameters()]}])
        if self.encoder is None:
            weights = [w for encoder, _ in classifiers for w in encoder.parameters()]
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
        log_epoch(self, self.history, groups)
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
            parts = [(group[fold], folds == fold) for fold in self.folds[draw]]
            of_folds = [losses_and_hits(classifier(inputs[part]), labels[part]) for classifier, part in parts]
            if of_folds:
                held_out.append(torch.cat(of_folds, dim=1).mean(dim=1))
        return {name: torch.stack(found) for name, found in (("learnt", learnt), ("held_out", held_out)) if found}

    def examples(self) -> Examples:
        """The networks with their inputs; all classifiers are alike."""
        images, classifier = torch.zeros(2, 1, IMAGE_SIZE, IMAGE_SIZE, device=self.device), self.classifiers[0][-1]
        if self.encoder is None:
            return {"classifier": (classifier, (images,))}
        latents = torch.zeros(2, len(self.encoder.mean), device=self.device)
        return {"encoder": (self.encoder, (images,)), "head": (classifier, (latents,))}

    def forward(self, images: Tensor) -> Tensor:
        """Logits (D, N, 10) of images (N, 1, 32, 32) in [0, 1], by each draw's kept classifier."""
        inputs = images if self.encoder is None else self.encoder(images)
        return torch.stack([classifier(inputs) for classifier in self.best])

    def probabilities(self, images: Tensor) -> Tensor:
        """Probabilities (N, 10) of the digits in images (N, 1, 32, 32) in [0, 1], averaged over the draws."""
        return self(images).softmax(dim=2).mean(dim=0)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Empty: Lightning needs it to test. `callbacks.MeasureDigits` computes the metrics."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = checked_history(checkpoint["history"])


def _cross_entropy(classifier: nn.Module, views: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of V views (V, N, ...) of N labelled images."""
    return F.cross_entropy(classifier(views.flatten(0, 1)), labels.repeat(len(views)))
