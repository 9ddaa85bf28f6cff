"""Semi-supervised learning: a few labels spread over the unlabelled images, are learnt from, and spread again.

Labels spread along the graph of nearest neighbours among codes (Zhou et al. 2004). A classifier learns from all
images with the labels they got, each image changed at random and counted by how certain its label is. Its own codes
make a better graph, and so on (Iscen et al. 2019). Nothing is chosen by labels beyond the few: the run ends where it
was planned to.
"""

import copy
import math
import warnings
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from sklearn.exceptions import ConvergenceWarning
from sklearn.neighbors import kneighbors_graph
from sklearn.semi_supervised import LabelSpreading
from torch import Tensor, nn
from torch.optim import Optimizer

from mnist_gen.autoencoder import Autoencoder
from mnist_gen.data.augment import noisy, random_affine
from mnist_gen.data.few_labels import PartlyLabelled
from mnist_gen.data.mnist import CHUNK, Batch, to_images
from mnist_gen.errors import UserError
from mnist_gen.training.curves import checked_history
from mnist_gen.training.optimization import move_average, refuse_unless_finite, warm_up_and_decay
from mnist_gen.training.trainer import data_of
from mnist_gen.transfer.losses import losses_and_hits

SPREADINGS = 200  # iterations at most


def spread(codes: Tensor, known: Tensor, labels: Tensor, neighbours: int, alpha: float) -> tuple[Tensor, Tensor]:
    """Labels (N,) of all codes (N, D), from those (M,) of the codes at `known` (M,), and their certainty (N,).

    Certainty is 1 where one label alone reaches a code, 0 where all do alike or none does: 1 minus the entropy of what
    reaches it, by the largest there is.

    Args:
        codes: compared by angle, once each dimension has mean 0 and deviation 1.
        known: positions.
        labels: of the known ones.
        neighbours: that each code is joined to.
        alpha: how much of a code's label comes from its neighbours; the rest is what it was given.
    """
    points = F.normalize((codes - codes.mean(dim=0)) / codes.std(dim=0).clamp_min(1e-6)).cpu().numpy()
    given = torch.full((len(codes),), -1)
    given[known.cpu()] = labels.cpu()

    def graph(points: Any, _: Any) -> Any:
        joined = kneighbors_graph(points, neighbours, n_jobs=-1)
        return joined + joined.T  # as the method asks; scikit-learn's own is one-sided: 94 % right in place of 98 %

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        spreading = LabelSpreading(kernel=graph, alpha=alpha, max_iter=SPREADINGS).fit(points, given.numpy())
    shares = torch.from_numpy(spreading.label_distributions_).float()
    doubt = torch.special.entr(shares).sum(dim=1) / math.log(shares.shape[1])
    certainty = (shares.sum(dim=1) - doubt).clamp_min(0)  # shares add up to 1, or to 0 where no label came
    return torch.from_numpy(spreading.transduction_).to(codes.device), certainty.to(codes.device)


class SemiSupervised(L.LightningModule):
    """A head on a pretrained encoder, both learning from all training images and a few labels.

    An exponential moving average of their weights is what counts.

    Args:
        latent_dim: length of a code.
        encoder: makes the network from images to codes, given that length.
        head: makes the network from codes to logits (N, 10), given that length.
        neighbours: of `spread`.
        alpha: of `spread`.
        every: epochs from one spreading to the next.
        augment: strength of `augment.random_affine` on images learnt from.
        noise: standard deviation of the noise on them.
        optimizer: makes an optimizer from parameters.
        warmup: batches over which the learning rate rises; then it falls linearly to 0.
        ema_decay: of the averaged weights.
    """

    starts_from = "pretrained"

    def __init__(
        self,
        latent_dim: int,
        encoder: Callable[..., nn.Module],
        head: Callable[..., nn.Module],
        neighbours: int,
        alpha: float,
        every: int,
        augment: float,
        noise: float,
        optimizer: Callable[..., Optimizer],
        warmup: int,
        ema_decay: float,
    ) -> None:
        super().__init__()
        for key, value in {"neighbours": neighbours, "every": every}.items():
            if value < 1:
                raise UserError(f"model.{key}={value}: must be at least 1.")
        if not 0 < alpha < 1:
            raise UserError(f"model.alpha={alpha}: must be between 0 and 1.")
        self.neighbours, self.alpha, self.every = neighbours, alpha, every
        self.augment, self.noise = augment, noise
        self.optimizer, self.warmup, self.ema_decay = optimizer, warmup, ema_decay
        norm = nn.BatchNorm1d(latent_dim, affine=False)
        self.network = nn.Sequential(encoder(latent_dim), norm, head(latent_dim))
        self.to(memory_format=torch.channels_last)  # faster on a CPU
        self.averaged = copy.deepcopy(self.network).requires_grad_(False)
        self.targets: Tensor | None = None  # what each training image is taken for
        self.weights: Tensor | None = None  # how much it counts, 1 in the mean
        self.next_spread = 0  # epoch
        self.history: dict[str, list[list[float]]] = {}  # a row an epoch, in its one column the value
        self._watched: list[Tensor] = []

    @property
    def best_epoch(self) -> Tensor:
        """The last epoch: choosing one would cost labels."""
        return torch.tensor([len(self.history["val/loss"])])

    def start_from(self, autoencoder: Autoencoder) -> None:
        """Takes a pretrained encoder's weights."""
        for network in (self.network, self.averaged):
            network[0].load_state_dict(autoencoder.encoder.state_dict())

    def train(self, mode: bool = True) -> "SemiSupervised":
        """The averaged network never trains."""
        super().train(mode)
        self.averaged.eval()
        return self

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimizer and its schedule, stepped each batch."""
        optimizer = self.optimizer(self.network.parameters())
        schedule = warm_up_and_decay(optimizer, self.trainer.estimated_stepping_batches, self.warmup, decay_from=0.0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """Brings what a checkpoint held to the device."""
        if self.targets is not None and self.weights is not None:
            self.targets, self.weights = self.targets.to(self.device), self.weights.to(self.device)

    def on_train_epoch_start(self) -> None:
        """Spreads the labels, every few epochs."""
        if self.current_epoch >= self.next_spread:
            self.targets, certainty = self._spread()
            self.weights = certainty / certainty.mean()
            self.next_spread = self.current_epoch + self.every

    @torch.no_grad()
    def _spread(self) -> tuple[Tensor, Tensor]:
        data = data_of(self.trainer, PartlyLabelled)
        chunks = (to_images(raw).to(self.device) for raw in data.train.images.split(CHUNK))
        codes = torch.cat([self.averaged[0](images) for images in chunks])
        return spread(codes, data.positions[0], data.labelled.labels[0], self.neighbours, self.alpha)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Cross-entropy of changed images with the labels they got, the certain ones more."""
        images, positions = batch
        assert self.targets is not None
        assert self.weights is not None
        seen = noisy(random_affine(images, self.augment), self.noise)
        losses = F.cross_entropy(self.network(seen), self.targets[positions], reduction="none")
        loss = (losses * self.weights[positions]).mean()
        refuse_unless_finite(loss, self, self.global_step)
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Moves the average too, before any callback may save it."""
        super().optimizer_step(*args, **kwargs)
        move_average(self.averaged, self.network, self.ema_decay, self.global_step)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Looks at the watched images."""
        images, labels = batch
        self._watched.append(losses_and_hits(self(images)[0], labels))

    def on_validation_epoch_end(self) -> None:
        """Logs loss and accuracy, of these and of the labelled images; nothing is decided by them."""
        labelled = data_of(self.trainer, PartlyLabelled).labelled
        images, labels = labelled.images[0].to(self.device), labelled.labels[0].to(self.device)
        measured = {
            "val": torch.cat(self._watched, dim=1).mean(dim=1),
            "learnt": losses_and_hits(self(to_images(images))[0], labels).mean(dim=1),
        }
        self._watched = []
        for group, values in measured.items():
            for name, value in zip(("loss", "accuracy"), values, strict=True):
                self.history.setdefault(f"{group}/{name}", []).append([value.item()])
                self.log(f"{group}/{name}", value, logger=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (1, N, 10) of images (N, 1, 32, 32) in [0, 1], by the averaged network."""
        return torch.cat([self.averaged(chunk) for chunk in images.split(CHUNK)]).unsqueeze(0)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Nothing: `recognition.Recognition` measures."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What the images are taken for, and the curves so far."""
        checkpoint["spread"] = {"targets": self.targets, "weights": self.weights, "next": self.next_spread}
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes them back."""
        saved = checkpoint["spread"]
        self.targets, self.weights, self.next_spread = saved["targets"], saved["weights"], saved["next"]
        self.history = checked_history(checkpoint["history"])
