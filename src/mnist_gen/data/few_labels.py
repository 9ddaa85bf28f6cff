"""Few labels: which training images have labels, and their folds for cross-validation."""

from typing import Any

import torch
from torch import Tensor

from mnist_gen.data import NUM_CLASSES
from mnist_gen.data.batches import Batches, ShuffledBatches
from mnist_gen.data.mnist import ImageData
from mnist_gen.errors import UserError

LabelledBatch = tuple[Tensor, Tensor, Tensor, Tensor]  # images, labels (D, N), folds (D, N), positions in the draw (N,)


def draw_labels(labels: Tensor, count: int, seed: int | None, balanced: bool) -> Tensor:
    """Positions (count,) of the images whose labels are known, among all images with `labels` (N,).

    Without a seed they are the first images. A balanced draw has equally many of each digit.
    """
    if count > len(labels):
        raise UserError(f"data.labels={count}: there are {len(labels)} training images.")
    if seed is None:
        return torch.arange(count)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    if not balanced:
        return order[:count]
    per_digit, rest = divmod(count, NUM_CLASSES)
    if rest:
        raise UserError(f"data.labels={count}: balancing needs a multiple of {NUM_CLASSES}, or data.balanced=false.")
    rarest = int(torch.bincount(labels).min())
    if per_digit > rarest:
        raise UserError(f"data.labels={count}: the rarest digit has {rarest} images; at most {rarest * NUM_CLASSES}.")
    return torch.cat([order[labels[order] == digit][:per_digit] for digit in range(NUM_CLASSES)])


def stratified_folds(labels: Tensor, count: int, held_out: int) -> Tensor:
    """The fold (N,) that holds each image out, or -1 for images that are never held out.

    The images, sorted by digit, are dealt to `count` folds in turn, except the only image of a digit, because others
    could not teach that digit. Folds after the first `held_out` images are not held out.
    """
    folds = torch.full_like(labels, -1)
    if count == 0:
        return folds
    order = labels.argsort(stable=True)
    dealt = order[labels.bincount()[labels[order]] > 1]
    folds[dealt] = torch.arange(len(dealt)) % count
    fold_size = -(-len(dealt) // count)
    folds[folds * fold_size >= held_out] = -1
    return folds


class LabelDraws:
    """D draws of N labelled images: raw images (D, N, 28, 28), labels and folds (D, N). Batches index along N."""

    def __init__(self, images: Tensor, labels: Tensor, folds: Tensor) -> None:
        self.images, self.labels, self.folds = images, labels, folds

    def __len__(self) -> int:
        return self.labels.shape[1]

    def __getitem__(self, chosen: Tensor) -> LabelledBatch:
        return self.images[:, chosen], self.labels[:, chosen], self.folds[:, chosen], chosen


class FewLabels(ImageData):
    """Several draws of a few labelled training images, see `draw_labels`, for one classifier each."""

    def __init__(
        self,
        labels: int,  # per draw
        labels_seed: int | None,  # of the first draw; later draws count up from it. None: the first training images
        balanced: bool,
        draws: int,
        folds: int,  # per draw, for cross-validation; 0 for none
        held_out: int,  # number of held-out labels that suffices for early stopping; later folds are not held out
        watched: int,  # validation images to plot over the epochs; 0 for the test images
        batch_size: int | None,  # labelled images per draw in a batch; None for a fifth of them
        **options: Any,  # of `ImageData`
    ) -> None:
        super().__init__(batch_size=-(-labels // 5) if batch_size is None else batch_size, **options)
        if draws > 1 and labels_seed is None:
            raise UserError(f"data.draws={draws}: must be 1, or more with a data.labels_seed.")
        if folds == 1:
            raise UserError("data.folds=1: must be at least 2, or 0 for none.")
        self.labels, self.balanced = labels, balanced
        self.folds, self.held_out, self.watched = folds, held_out, watched
        self.seeds = [None] if labels_seed is None else [labels_seed + draw for draw in range(draws)]

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        labels, device = self.train.labels.cpu(), self.train.labels.device
        chosen = torch.stack([draw_labels(labels, self.labels, seed, self.balanced) for seed in self.seeds])  # (D, N)
        folds = torch.stack([stratified_folds(known, self.folds, self.held_out) for known in labels[chosen]])
        self.positions = chosen.to(device)
        drawn = self.train.subset(self.positions)
        self.labelled = LabelDraws(drawn.images, drawn.labels, folds.to(device))

    def described(self) -> str:
        draws = f" in each of {len(self.seeds)} draws" if len(self.seeds) > 1 else ""
        return f"{self.labels:,} of {self.dataset}{draws}"

    def train_dataloader(self) -> ShuffledBatches:
        """Batches with equally many labelled images of each draw."""
        return self.shuffled(self.labelled, drop_last=False)

    def val_dataloader(self) -> Batches:
        return self.in_order(self.val.first(self.watched) if self.watched else self.test)


class PartlyLabelled(FewLabels):
    """All training images, each with its position instead of a label; a few labels in `labelled`, at `positions`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, draws=1, folds=0, held_out=1)
        self.hides_labels = True

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        if missing := {*range(NUM_CLASSES)} - {*self.labelled.labels[0].tolist()}:
            digits = ", ".join(map(str, sorted(missing)))
            raise UserError(f"data.labels={self.labels}: none is of {digits}; draw some of each, data.labels_seed=0.")

    def described(self) -> str:
        return f"{len(self.train):,} of {self.dataset}, {self.labels:,} with labels"

    def train_dataloader(self) -> ShuffledBatches:
        """Batches of all images, not only of those with labels."""
        return ImageData.train_dataloader(self)
