"""Few labels: which training images have labels, and their folds for cross-validation."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mnist_gen.data import NUM_CLASSES
from mnist_gen.data.mnist import Batch, ImageData, ImageSet, ResumableLoader, to_images
from mnist_gen.errors import UserError, check_at_least

LabelledBatch = tuple[Tensor, Tensor, Tensor, Tensor]  # images, labels (D, N), folds (D, N), positions in the draw (N,)


def draw_labels(labels: Tensor, count: int, seed: int | None, balanced: bool) -> Tensor:
    """Chooses the images whose labels are known; returns their positions (count,).

    Args:
        labels: of all images, (N,).
        count: number of known labels.
        seed: of the draw; None for the first images.
        balanced: whether to draw equally many of each digit; the first images ignore it.

    Raises:
        UserError: there are too few images, or `count` cannot be balanced.
    """
    if not NUM_CLASSES <= count <= len(labels):
        raise UserError(f"data.labels={count}: must be from {NUM_CLASSES}, one per digit, to {len(labels)}.")
    if seed is None:
        return torch.arange(count)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    if not balanced:
        return order[:count]
    per_digit, rest = divmod(count, NUM_CLASSES)
    if rest:
        raise UserError(
            f"data.labels={count}: balanced digits need a multiple of {NUM_CLASSES}, or data.balanced=false."
        )
    rarest = int(torch.bincount(labels).min())
    if per_digit > rarest:
        raise UserError(f"data.labels={count}: the rarest digit has {rarest} images; at most {rarest * NUM_CLASSES}.")
    return torch.cat([order[labels[order] == digit][:per_digit] for digit in range(NUM_CLASSES)])


def stratified_folds(labels: Tensor, count: int, held_out: int) -> Tensor:
    """The fold (N,) that holds each image out, or -1 for images that are never held out.

    The images of each digit are dealt to the folds in turn. The only image of a digit is never held out, because the
    remaining images could not teach that digit. Folds after the first `held_out` images are not held out either.

    Args:
        labels: of the images, (N,).
        count: number of folds; 0 for none.
        held_out: number of held-out images that suffices.
    """
    folds, dealt = torch.full_like(labels, -1), 0
    for digit in labels.unique():
        of_digit = (labels == digit).nonzero().squeeze(1)
        if len(of_digit) > 1 and count:
            folds[of_digit] = (torch.arange(len(of_digit)) + dealt) % count
            dealt += len(of_digit)
    fold_size = -(-dealt // count) if count else 0
    folds[folds * fold_size >= held_out] = -1
    return folds


class LabelDraws(Dataset[LabelledBatch]):
    """D draws of N labelled images: raw images (D, N, 28, 28), labels and folds (D, N). Batches index along N."""

    def __init__(self, images: Tensor, labels: Tensor, folds: Tensor) -> None:
        self.images, self.labels, self.folds = images, labels, folds

    def __len__(self) -> int:
        return self.labels.shape[1]

    def __getitems__(self, indices: list[int]) -> LabelledBatch:
        chosen = torch.tensor(indices, device=self.labels.device)
        return self.images[:, chosen], self.labels[:, chosen], self.folds[:, chosen], chosen


class FewLabels(ImageData):
    """Several draws of a few labelled training images, to train one classifier per draw in parallel.

    Args:
        labels: labelled images per draw.
        labels_seed: of the first draw; later draws count up from it. None for the first training images.
        balanced: whether to draw equally many images of each digit.
        draws: number of draws.
        folds: folds per draw for cross-validation; 0 for none.
        held_out: number of held-out labels that suffices for early stopping; later folds are not held out.
        watched: validation images to plot over the epochs; 0 for the test images.
        batch_size: labelled images per draw in a batch; None for a fifth of them.
        options: of `ImageData`.

    Raises:
        UserError: an argument is out of range, or the labels cannot be drawn.
    """

    def __init__(
        self,
        labels: int,
        labels_seed: int | None,
        balanced: bool,
        draws: int,
        folds: int,
        held_out: int,
        watched: int,
        batch_size: int | None,
        **options: Any,
    ) -> None:
        super().__init__(batch_size=-(-labels // 5) if batch_size is None else batch_size, **options)
        if draws < 1 or (draws > 1 and labels_seed is None):
            raise UserError(f"data.draws={draws}: must be 1, or more with a data.labels_seed.")
        if folds < 0 or folds == 1:
            raise UserError(f"data.folds={folds}: must be at least 2, or 0 for none.")
        check_at_least(1, "data", held_out=held_out)
        check_at_least(0, "data", watched=watched)
        self.labels, self.labels_seed, self.balanced = labels, labels_seed, balanced
        self.folds, self.held_out, self.watched = folds, held_out, watched
        self.seeds = [None] if labels_seed is None else [labels_seed + draw for draw in range(draws)]

    def setup(self, stage: str | None = None) -> None:
        """Loads the images and draws the labels."""
        super().setup(stage)
        labels, device = self.train.labels.cpu(), self.train.labels.device
        chosen = torch.stack([draw_labels(labels, self.labels, seed, self.balanced) for seed in self.seeds])  # (D, N)
        folds = torch.stack([stratified_folds(known, self.folds, self.held_out) for known in labels[chosen]])
        self.positions = chosen.to(device)
        self.labelled = LabelDraws(
            self.train.images[self.positions], self.train.labels[self.positions], folds.to(device)
        )

    def train_dataloader(self) -> ResumableLoader:
        """Batches with equally many labelled images of each draw."""
        return self.shuffled(self.labelled, drop_last=False)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The watched images."""
        return self.in_order(self.val.subset(torch.arange(self.watched)) if self.watched else self.test)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Scales and pads on the device; labelled images become (D, N, 1, 32, 32)."""
        if len(batch) == 2:
            return super().on_after_batch_transfer(batch, dataloader_idx)
        images, labels, folds, positions = batch
        return to_images(images.flatten(0, 1)).unflatten(0, labels.shape), labels, folds, positions


class PartlyLabelled(FewLabels):
    """All training images, each with its position instead of a label; a few labels in `labelled`, at `positions`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, draws=1, folds=0, held_out=1)

    def train_dataloader(self) -> ResumableLoader:
        """Batches of all training images and their positions."""
        positions = torch.arange(len(self.train), device=self.train.labels.device)
        return self.shuffled(ImageSet(self.train.images, positions), drop_last=True)
