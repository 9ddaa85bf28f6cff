"""Semi-supervised learning: a few labels spread to all training images, which then train the classifier.

Labels spread along the graph of nearest neighbours among latents (Zhou et al. 2004). A classifier trains on all images
with their spread labels, augmented at random and weighted by certainty. Its own latents then make a better graph, so
spreading and training alternate (Iscen et al. 2019). No further label is used, not even to choose an epoch: the run
has a fixed length.
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
from torch import Tensor, nn
from torch.optim import Optimizer

from mnist_gen.autoencoder import Autoencoder
from mnist_gen.data import IMAGE_SIZE
from mnist_gen.data.augment import noisy, random_affine
from mnist_gen.data.few_labels import PartlyLabelled
from mnist_gen.data.mnist import Batch, chunks, to_images
from mnist_gen.networks.inspection import Examples
from mnist_gen.training.curves import checked_history
from mnist_gen.training.optimization import update_average, with_schedule
from mnist_gen.training.trainer import data_of
from mnist_gen.transfer.losses import History, log_epoch, losses_and_hits

MAX_ITERATIONS = 200  # of label spreading


def spread(latents: Tensor, known: Tensor, labels: Tensor, neighbours: int, alpha: float) -> tuple[Tensor, Tensor]:
    """Spreads labels (M,) from latents at positions `known` (M,) to all latents (N, D).

    Returns the labels (N,) and their certainty (N,).

    Certainty is 1 minus the normalized entropy of the labels that reach a latent, or 0 if no label reaches it. Latents
    are standardized and compared by angle. Each has edges to its nearest `neighbours`. A share `alpha` of its label
    comes along the edges; the rest is its own.
    """
    from sklearn.exceptions import ConvergenceWarning  # here: GANs import this module, and need no scikit-learn
    from sklearn.neighbors import kneighbors_graph
    from sklearn.semi_supervised import LabelSpreading

    features = F.normalize((latents - latents.mean(dim=0)) / latents.std(dim=0).clamp_min(1e-6)).cpu().numpy()
    partial_labels = torch.full((len(latents),), -1)
    partial_labels[known.cpu()] = labels.cpu()

    def graph(features: Any, _: Any) -> Any:
        edges = kneighbors_graph(features, neighbours, n_jobs=-1)
        return edges + edges.T  # symmetric as in the paper; scikit-learn's own graph is not: 94 % right instead of 98 %

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        spreading = LabelSpreading(kernel=graph, alpha=alpha, max_iter=MAX_ITERATIONS)
        spreading.fit(features, partial_labels.numpy())
    shares = torch.from_numpy(spreading.label_distributions_).float()  # (N, classes)
    entropy = torch.special.entr(shares).sum(dim=1) / math.log(shares.shape[1])
    certainty = (shares.sum(dim=1) - entropy).clamp_min(0)  # shares sum to 1, or to 0 where no label came
    return torch.from_numpy(spreading.transduction_).to(latents.device), certainty.to(latents.device)


def classifier(latent_dim: int, encoder: Callable[[int], nn.Module], head: Callable[[int], nn.Module]) -> nn.Sequential:
    """A network from images (N, 1, 32, 32) in [0, 1] to logits (N, 10): an encoder and a head on its latents."""
    return nn.Sequential(encoder(latent_dim), nn.BatchNorm1d(latent_dim, affine=False), head(latent_dim))


class SemiSupervised(L.LightningModule):
    """A pretrained encoder with a head, trained on all training images by label spreading.

    An exponential moving average of the weights spreads the labels and is evaluated.
    """

    starts_from = ("pretrained",)
    in_use = ("averaged",)
    validation_metrics = ("loss", "accuracy")
    replayable = True
    batches: Tensor

    def __init__(
        self,
        latent_dim: int,
        encoder: Callable[..., nn.Module],  # `encoder(latent_dim)` maps images to latents
        head: Callable[..., nn.Module],  # `head(latent_dim)` maps latents to logits (N, 10)
        neighbours: int,  # see `spread`
        alpha: float,  # see `spread`
        every: int,  # epochs between two spreadings
        augment: float,  # strength of `augment.random_affine` on training images
        noise: float,  # standard deviation of the noise on training images
        optimizer: Callable[..., Optimizer],
        warmup: int,  # batches over which the learning rate rises; then it falls linearly to 0
        ema_decay: float,
    ) -> None:
        super().__init__()
        self.neighbours, self.alpha, self.every, self.augment, self.noise = neighbours, alpha, every, augment, noise
        self.optimizer, self.warmup, self.ema_decay = optimizer, warmup, ema_decay
        self.network = classifier(latent_dim, encoder, head)
        self.to(memory_format=torch.channels_last)  # faster on a CPU
        self.averaged = copy.deepcopy(self.network).requires_grad_(False).eval()
        self.register_buffer("batches", torch.zeros(()), persistent=False)  # trained so far, on the device
        self.targets: Tensor | None = None  # spread labels of the training images
        self.weights: Tensor | None = None  # their certainty, divided by its mean
        self.next_spread = 0  # epoch
        self.history: History = {}
        self._validated: list[Tensor] = []  # (2, N) of each validation batch

    @property
    def best_epoch(self) -> Tensor:
        """The last epoch: choosing another would use more labels."""
        return torch.tensor([len(self.history["val/loss"])])

    def start_from(self, pretrained: Autoencoder) -> None:
        for network in (self.network, self.averaged):
            network[0].load_state_dict(pretrained.encoder.state_dict())

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        return with_schedule(self, self.optimizer(self.network.parameters()), self.warmup, decay_from=0.0)

    def on_train_start(self) -> None:
        """Moves spread labels from a checkpoint to the device."""
        self.batches.fill_(self.global_step)
        if self.targets is not None and self.weights is not None:
            self.targets, self.weights = self.targets.to(self.device), self.weights.to(self.device)

    @torch.no_grad()
    def on_train_epoch_start(self) -> None:
        if self.current_epoch < self.next_spread:
            return
        data = data_of(self.trainer, PartlyLabelled)
        parts = (to_images(raw).to(self.device) for raw in chunks(data.train.images))
        latents = torch.cat([self.averaged[0](images) for images in parts])
        known, labels = data.positions[0], data.labelled.labels[0]
        targets, certainty = spread(latents, known, labels, self.neighbours, self.alpha)
        weights = certainty / certainty.mean()
        if self.targets is None or self.weights is None:
            self.targets, self.weights = targets, weights
        else:  # in place: `replayable`
            self.targets.copy_(targets)
            self.weights.copy_(weights)
        self.next_spread = self.current_epoch + self.every

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Cross-entropy of augmented images with their spread labels, weighted by certainty."""
        images, positions = batch
        assert self.targets is not None
        assert self.weights is not None
        augmented = noisy(random_affine(images, self.augment), self.noise)
        losses = F.cross_entropy(self.network(augmented), self.targets[positions], reduction="none")
        return (losses * self.weights[positions]).mean()

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Also updates the average, before a callback can save it."""
        super().optimizer_step(*args, **kwargs)
        self.batches += 1
        update_average(self.averaged, self.network, self.ema_decay, self.batches)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        images, labels = batch
        self._validated.append(losses_and_hits(self(images)[0], labels))

    def on_validation_epoch_end(self) -> None:
        """Logs loss and accuracy on validation images and labelled images, for the curves only."""
        labelled = data_of(self.trainer, PartlyLabelled).labelled
        images, labels = labelled.images[0].to(self.device), labelled.labels[0].to(self.device)
        learnt = losses_and_hits(self(to_images(images))[0], labels)
        groups = {"val": torch.cat(self._validated, dim=1), "learnt": learnt}
        self._validated = []
        log_epoch(self, self.history, {group: values.mean(dim=1)[None] for group, values in groups.items()})

    def examples(self) -> Examples:
        """The network with its input."""
        return {"classifier": (self.network, (torch.zeros(2, 1, IMAGE_SIZE, IMAGE_SIZE, device=self.device),))}

    def forward(self, images: Tensor) -> Tensor:
        """Logits (1, N, 10) of images (N, 1, 32, 32) in [0, 1], by the averaged network."""
        return torch.cat([self.averaged(chunk) for chunk in chunks(images)]).unsqueeze(0)

    def probabilities(self, images: Tensor) -> Tensor:
        """Probabilities (N, 10) of the digits in images (N, 1, 32, 32) in [0, 1]."""
        return self(images)[0].softmax(dim=1)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Empty: Lightning needs it to test. `callbacks.MeasureDigits` computes the metrics."""

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["spread"] = {"targets": self.targets, "weights": self.weights, "next": self.next_spread}
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint["spread"]
        self.targets, self.weights, self.next_spread = saved["targets"], saved["weights"], saved["next"]
        self.history = checked_history(checkpoint["history"])
