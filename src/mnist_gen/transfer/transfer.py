"""Transfer learning: a small classifier on a pretrained encoder, learnt from a few labels.

D draws of labels are learnt side by side, each by a classifier of its own. For each draw, F further classifiers leave
out a fold of the labels; their loss on what they left out says at which epoch the draw's classifier is kept. So early
stopping costs no label and sees no other image.
"""

import copy
from collections.abc import Callable
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
from mnist_gen.errors import UserError
from mnist_gen.networks.encoders import STATISTICS, WhitenedEncoder
from mnist_gen.training.curves import checked_history
from mnist_gen.training.optimization import move_average, refuse_unless_finite
from mnist_gen.training.trainer import data_of
from mnist_gen.transfer.losses import losses_and_hits

ARMS = ("frozen", "finetune", "scratch")
CODES = ("raw", "standardized", "whitened")


class Member(nn.Module):
    """One classifier: a head on a frozen encoder's codes, or behind an encoder of its own, on images."""

    def __init__(self, encoder: WhitenedEncoder | None, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, inputs: Tensor) -> Tensor:
        return self.head(inputs if self.encoder is None else self.encoder(inputs))


def _loss(classifier: Member, views: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of inputs (V, N, ...), V views of each of N labelled images."""
    return F.cross_entropy(classifier(views.flatten(0, 1)), labels.repeat(len(views)))


class Transfer(L.LightningModule):
    """Heads on an encoder, trained by cross-entropy with early stopping, one for each draw of labels.

    Args:
        latent_dim: length of a code.
        encoder: makes the network from images to codes, given that length.
        head: makes the network from codes to logits (N, 10), given that length.
        arm: `frozen`, the encoder stays as it was pretrained; `finetune`, it learns too; `scratch`, it learns from
            random weights. The report's "composition" is the last in its code and the second in its words.
        codes: what is made of a pretrained encoder's: `raw`, nothing; `standardized`, mean 0 and deviation 1 over
            unlabelled images; `whitened`, by how changing unlabelled images, as labelled ones are, moves them.
        augment: strength of `augment.random_affine` on labelled images; 0 for none.
        noise: standard deviation of the noise on them.
        views: codes a frozen encoder makes of each labelled image once: one of the image, the others of changed ones.
        optimizer: makes an optimizer from parameter groups; its weight decay is the head's, an encoder has none.
        encoder_rate: learning rate of an encoder that learns, as a share of the head's.
        ema_decay: of the moving averages of weights that are judged and kept; 0: the weights themselves.
        draws: D.
        folds: F; 0: the validation images say when to stop.
        patience: epochs without a better loss after which a draw is done.
    """

    best_loss: Tensor
    best_epoch: Tensor
    done: Tensor

    def __init__(
        self,
        latent_dim: int,
        encoder: Callable[..., nn.Module],
        head: Callable[..., nn.Module],
        arm: str,
        codes: str,
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
        for key, choice, choices in (("arm", arm, ARMS), ("codes", codes, CODES)):
            if choice not in choices:
                raise UserError(f"model.{key}={choice}: choose one of {', '.join(choices)}.")
        for key, value in {"views": views, "patience": patience}.items():
            if value < 1:
                raise UserError(f"model.{key}={value}: must be at least 1.")
        for key, share in {"augment": augment, "noise": noise, "encoder_rate": encoder_rate}.items():
            if share < 0:
                raise UserError(f"model.{key}={share}: must be at least 0.")
        if not 0 <= ema_decay < 1:
            raise UserError(f"model.ema_decay={ema_decay}: must be at least 0 and below 1.")
        if codes == "whitened" and not (augment or noise):
            raise UserError("model.codes=whitened: by no changes; set model.augment, model.noise or other model.codes.")
        self.arm, self.codes, self.views = arm, codes, views
        self.augment, self.noise = augment, noise
        self.optimizer, self.encoder_rate, self.patience = optimizer, encoder_rate, patience
        self.ema_decay = ema_decay

        def make() -> WhitenedEncoder:
            return WhitenedEncoder(encoder(latent_dim), latent_dim)

        frozen = arm == "frozen"
        self.encoder = make().requires_grad_(False) if frozen else None
        self.groups = [  # of each draw: F classifiers that leave out a fold, and one that does not
            [Member(None if frozen else make(), head(latent_dim)) for _ in range(folds + 1)] for _ in range(draws)
        ]
        self.judged = copy.deepcopy(self.groups) if ema_decay else self.groups
        self.best = [copy.deepcopy(group[-1]) for group in self.groups]  # as of its best epoch
        self.learning = nn.ModuleList(member for group in self.groups for member in group)
        averages = [member for group in self.judged for member in group] if ema_decay else []
        self.averaged = nn.ModuleList(averages).requires_grad_(False)
        self.kept = nn.ModuleList(self.best).requires_grad_(False)
        self.to(memory_format=torch.channels_last)  # faster on a CPU
        self.register_buffer("best_loss", torch.full((draws,), torch.finfo(torch.float).max))
        self.register_buffer("best_epoch", torch.zeros(draws, dtype=torch.long))
        self.register_buffer("done", torch.zeros(draws, dtype=torch.bool))
        self.left_out = [[*range(folds)] for _ in range(draws)]  # of each draw the folds that have images
        self.history: dict[str, list[list[float]]] = {}  # a row an epoch, a column a draw
        self._codes: dict[str, Tensor] = {}  # of a frozen encoder
        self._watched: list[Tensor] = []
        self._fresh = False  # started from an autoencoder and not yet trained

    def _encoders(self) -> list[WhitenedEncoder]:
        groups = [*self.groups, *(self.judged if self.ema_decay else []), self.best]
        own = [member.encoder for group in groups for member in group]
        return [encoder for encoder in (self.encoder, *own) if encoder is not None]

    @property
    def starts_from(self) -> str | None:
        """The autoencoder from whose encoder it starts, unless from scratch."""
        return None if self.arm == "scratch" else "pretrained"

    def start_from(self, autoencoder: Autoencoder) -> None:
        """Takes a pretrained encoder's weights."""
        for encoder in self._encoders():
            encoder.network.load_state_dict(autoencoder.encoder.state_dict())
        self._fresh = True

    @torch.no_grad()
    def setup(self, stage: str) -> None:
        """Takes the statistics of a pretrained encoder's codes, once the data are there."""
        if self._fresh and self.codes != "raw":
            encoders, images = (
                self._encoders(),
                to_images(data_of(self.trainer, FewLabels).train.images[:STATISTICS].cpu()),
            )
            network = encoders[0].eval()
            with drawn_from(torch.initial_seed()):  # the same in a resumed run
                changed = network.codes(self._changed(images)) if self.codes == "whitened" else None
            codes = network.codes(images)
            for encoder in encoders:
                encoder.fit(codes, changed)
        self._fresh = False

    def train(self, mode: bool = True) -> "Transfer":
        """A pretrained encoder keeps its batch statistics: those of a few labelled images would be worse."""
        super().train(mode)
        if self.arm != "scratch":
            for encoder in self._encoders():
                encoder.eval()
        return self

    def configure_optimizers(self) -> Optimizer:
        """One optimizer over all classifiers; each learns as if it were alone."""
        members = [member for group in self.groups for member in group]
        optimizer = self.optimizer([{"params": [w for member in members for w in member.head.parameters()]}])
        if self.encoder is None:
            weights = [w for member in members if member.encoder is not None for w in member.encoder.parameters()]
            rate = optimizer.param_groups[0]["lr"] * self.encoder_rate
            # the head's decay kills an encoder without batch normalisation; a pretrained one with it loses half a point
            optimizer.add_param_group({"params": weights, "lr": rate, "weight_decay": 0.0})
        return optimizer

    @torch.no_grad()
    def on_train_start(self) -> None:
        """Finds the folds that are there; a frozen encoder sees each labelled image once, in all its views.

        A run that goes on with all draws done has nothing left to learn.
        """
        self.trainer.should_stop = bool(self.done.all())
        self.left_out = [
            folds[folds >= 0].unique().tolist() for folds in data_of(self.trainer, FewLabels).labelled.folds
        ]
        if self.encoder is not None:
            raw = data_of(self.trainer, FewLabels).labelled.images.to(self.device)
            images = to_images(raw.flatten(0, 1))
            with drawn_from(torch.initial_seed()):
                views = [images, *(self._changed(images) for _ in range(self.views - 1))]
            codes = torch.stack([self.encoder(view) for view in views])  # (V, D N, latent_dim)
            self._codes["learnt"] = codes.unflatten(1, raw.shape[:2])  # (V, D, N, latent_dim)

    def training_step(self, batch: LabelledBatch, batch_idx: int) -> dict[str, Tensor]:
        """The loss is the sum over the classifiers that are not done, so that each learns as if it were alone.

        `cross_entropy` is their mean.
        """
        images, labels, folds, positions = batch
        inputs = self._seen(images, positions)  # (V, D, N, ...)
        losses = [
            _loss(self.groups[draw][fold], inputs[:, draw, known], labels[draw, known])
            for draw in (~self.done).nonzero().flatten().tolist()
            for fold in (*self.left_out[draw], len(self.groups[draw]) - 1)
            if (known := folds[draw] != fold).any()
        ]
        loss = torch.stack(losses).sum()
        refuse_unless_finite(loss, self, self.global_step)
        return {"loss": loss, "cross_entropy": loss.detach() / len(losses)}

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Moves the averages too, of those that are not done."""
        super().optimizer_step(*args, **kwargs)
        for draw in (~self.done).nonzero().flatten().tolist() if self.ema_decay else ():
            for average, member in zip(self.judged[draw], self.groups[draw], strict=True):
                move_average(average, member, self.ema_decay, self.global_step)

    def _seen(self, images: Tensor, positions: Tensor) -> Tensor:
        """What classifiers learn from: all views' codes (V, D, N, latent_dim), or images changed anew, V = 1."""
        if self.encoder is not None:
            return self._codes["learnt"][:, :, positions]
        return self._changed(images.flatten(0, 1)).unflatten(0, (1, *images.shape[:2]))

    def _changed(self, images: Tensor) -> Tensor:
        return noisy(random_affine(images, self.augment), self.noise)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Looks at the watched images with each draw's classifier as it is now."""
        images, labels = batch
        inputs = self._remembered(f"watched {batch_idx}", images)
        losses = [losses_and_hits(group[-1](inputs), labels) for group in self.judged]
        self._watched.append(torch.stack(losses))  # (D, 2, N)

    def on_validation_epoch_end(self) -> None:
        """Keeps the classifiers that are better than before, and stops when all draws are done."""
        watched = torch.cat(self._watched, dim=2).mean(dim=2)  # (D, 2)
        self._watched = []
        measured = {"val": watched, **self._look_at_labelled()}
        for group, values in measured.items():
            for name, column in zip(("loss", "accuracy"), values.T, strict=True):
                self.history.setdefault(f"{group}/{name}", []).append(column.tolist())
                self.log(f"{group}/{name}", column.mean(), logger=False)
        judge = "held_out" if "held_out" in measured else "learnt" if len(self.groups[0]) > 1 else "val"
        self._keep_better(measured[judge][:, 0])
        self.trainer.should_stop = bool(self.done.all())

    def _keep_better(self, losses: Tensor) -> None:
        better = (losses < self.best_loss) & ~self.done
        self.best_loss = torch.where(better, losses, self.best_loss)
        self.best_epoch[better] = self.current_epoch + 1
        for draw in better.nonzero().flatten().tolist():
            self.best[draw].load_state_dict(self.judged[draw][-1].state_dict())
        self.done |= self.current_epoch + 1 - self.best_epoch >= self.patience

    def _look_at_labelled(self) -> dict[str, Tensor]:
        """Loss and accuracy (D, 2) on the labels learnt from, and on those left out, by who left them out."""
        labelled = data_of(self.trainer, FewLabels).labelled
        learnt, held_out = [], []
        for draw, group in enumerate(self.judged):
            labels, folds = labelled.labels[draw].to(self.device), labelled.folds[draw].to(self.device)
            inputs = self._of_draw(draw)
            learnt.append(losses_and_hits(group[-1](inputs), labels).mean(dim=1))
            out = [(folds == fold).nonzero().flatten() for fold in range(len(group) - 1)]
            judged = [losses_and_hits(group[f](inputs[at]), labels[at]) for f, at in enumerate(out) if len(at)]
            if judged:
                held_out.append(torch.cat(judged, dim=1).mean(dim=1))
        measured = {"learnt": torch.stack(learnt)}
        return measured | ({"held_out": torch.stack(held_out)} if held_out else {})

    def _of_draw(self, draw: int) -> Tensor:
        """A draw's labelled images, unchanged, as its classifiers take them."""
        if self.encoder is not None:
            return self._codes["learnt"][0, draw]
        return to_images(data_of(self.trainer, FewLabels).labelled.images[draw].to(self.device))

    def _remembered(self, name: str, images: Tensor) -> Tensor:
        """Images, or a frozen encoder's codes of them, made once."""
        if self.encoder is None:
            return images
        if name not in self._codes:
            self._codes[name] = self.encoder(images)
        return self._codes[name]

    def forward(self, images: Tensor) -> Tensor:
        """Logits (D, N, 10) of images (N, 1, 32, 32) in [0, 1], by each draw's kept classifier."""
        inputs = images if self.encoder is None else self.encoder(images)
        return torch.stack([member(inputs) for member in self.best])

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Nothing: `recognition.Recognition` measures."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The curves so far."""
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes them back."""
        self.history = checked_history(checkpoint["history"])
