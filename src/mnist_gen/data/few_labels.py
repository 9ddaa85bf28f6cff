"""Few labels: which training images have one, and how they are shared out for cross-validation."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mnist_gen.data.mnist import NUM_CLASSES, Batch, ImageData, ResumableLoader, to_images
from mnist_gen.errors import UserError

LabelledBatch = tuple[Tensor, Tensor, Tensor, Tensor]  # images, labels (D, N), folds (D, N), positions in the draw (N,)


def draw(labels: Tensor, count: int, seed: int | None, balanced: bool) -> Tensor:
    """Positions (count,) of the images whose labels are known.

    Args:
        labels: of all images, (N,).
        count: of known ones.
        seed: of the choice; None for the first images, as they come.
        balanced: as many of each digit, if drawn.

    Raises:
        UserError: there are not as many, or they cannot be balanced.
    """
    if not NUM_CLASSES <= count <= len(labels):
        raise UserError(f"data.labels={count}: must be from {NUM_CLASSES}, one a digit, to {len(labels)}.")
    if seed is None:
        return torch.arange(count)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    if not balanced:
        return order[:count]
    each, rest = divmod(count, NUM_CLASSES)
    if rest:
        raise UserError(
            f"data.labels={count}: balanced digits need a multiple of {NUM_CLASSES}, or data.balanced=false."
        )
    rarest = int(torch.bincount(labels).min())
    if each > rarest:
        raise UserError(f"data.labels={count}: the rarest digit has {rarest} images; at most {rarest * NUM_CLASSES}.")
    of_digit = (order[labels[order] == digit] for digit in range(NUM_CLASSES))
    return torch.cat([positions[:each] for positions in of_digit])


def stratified_folds(labels: Tensor, count: int, enough: int) -> Tensor:
    """The fold (N,) of `count` in which each image is held out, or -1 where it never is.

    The images of a digit go to the folds in turn. One that is the only image of its digit is never held out: nothing
    would be left to learn the digit from. Nor are those in folds that come after `enough` images. No folds: none is.
    """
    folds, taken = torch.full_like(labels, -1), 0
    for digit in labels.unique():
        of_digit = (labels == digit).nonzero().squeeze(1)
        if len(of_digit) > 1 and count:
            folds[of_digit] = (torch.arange(len(of_digit)) + taken) % count
            taken += len(of_digit)
    size = -(-taken // count) if count else 0
    folds[folds * size >= enough] = -1
    return folds


class Draws(Dataset[LabelledBatch]):
    """D draws of N labelled images: raw images (D, N, 28, 28), labels and folds (D, N); indexed along N."""

    def __init__(self, images: Tensor, labels: Tensor, folds: Tensor) -> None:
        self.images, self.labels, self.folds = images, labels, folds

    def __len__(self) -> int:
        return self.labels.shape[1]

    def __getitem__(self, index: int) -> LabelledBatch:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> LabelledBatch:
        at = torch.tensor(indices, device=self.labels.device)
        return self.images[:, at], self.labels[:, at], self.folds[:, at], at


class FewLabels(ImageData):
    """Draws of a few labelled training images, for as many classifiers trained side by side.

    Args:
        labels: labelled images in a draw.
        labels_seed: of the first draw; the next draws have the next seeds. None: the first training images.
        balanced: as many of each digit; the first images are taken as they come.
        draws: how many.
        folds: into which each draw is shared out for cross-validation; 0: none.
        held_out: labels after which no further fold is held out: as many say well enough when to stop.
        watched: validation images that are followed over the epochs, only to be looked at; 0: the test images.
        batch_size: labelled images of each draw in a batch; None: a fifth of them.
        options: the others of `ImageData`.

    Raises:
        UserError: the labels cannot be drawn so.
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
        if held_out < 1:
            raise UserError(f"data.held_out={held_out}: must be at least 1.")
        if watched < 0:
            raise UserError(f"data.watched={watched}: must be at least 0.")
        self.labels, self.labels_seed, self.balanced = labels, labels_seed, balanced
        self.folds, self.held_out, self.watched = folds, held_out, watched
        self.seeds = [None] if labels_seed is None else [labels_seed + number for number in range(draws)]

    def setup(self, stage: str | None = None) -> None:
        """Draws the labels."""
        super().setup(stage)
        known = self.train.labels.cpu()
        chosen = torch.stack([draw(known, self.labels, seed, self.balanced) for seed in self.seeds])  # (D, N)
        folds = torch.stack([stratified_folds(labels, self.folds, self.held_out) for labels in known[chosen]])
        at = self.positions = chosen.to(self.train.labels.device)
        self.labelled = Draws(self.train.images[at], self.train.labels[at], folds.to(at.device))

    def train_dataloader(self) -> ResumableLoader:
        """Batches of labelled images, each with as many of every draw."""
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


class Numbered(Dataset[Batch]):
    """Images without their labels, each with its position in the set instead."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Batch:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> Batch:
        at = torch.tensor(indices, device=self.images.device)
        return self.images[at], at


class PartlyLabelled(FewLabels):
    """All training images, in batches of images and positions; a few have labels, in `labelled` and at `positions`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, draws=1, folds=0, held_out=1)

    def train_dataloader(self) -> ResumableLoader:
        """Batches of all training images."""
        return self.shuffled(Numbered(self.train.images), drop_last=True)
