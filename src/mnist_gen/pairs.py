"""Two classes of images for a translation: A, the digits, and B, another rendering of digits; and who meets whom.

The rendering is a fixed map, so each image of A has a true counterpart. Training sees it only where images are paired.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from mnist_gen.augment import drawn_from, random_affine
from mnist_gen.data import NUM_CLASSES, ImageData, ImageSet, ResumableLoader, to_images
from mnist_gen.errors import UserError

PairBatch = tuple[Tensor, Tensor, Tensor]  # images of A, images of B, labels of A
Rendering = Callable[[Tensor], Tensor]
PAIRINGS = ("paired", "loose", "unpaired")


def pair(labels: Tensor, pairing: str, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Positions (count,) of images of A, and of the images whose renderings they meet.

    Args:
        labels: of all images, (N,).
        pairing: `paired`, each its own; `loose`, one of the same digit, never itself; `unpaired`, any that is no
            image of A.
        count: of pairs.
        seed: of the choice; A's images are the same for each pairing.

    Raises:
        UserError: there are not as many images.
    """
    needed = 2 * count if pairing == "unpaired" else count
    if needed > len(labels):
        raise UserError(f"data.pairs={count}: {pairing} takes {needed} images, there are {len(labels)}.")
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    first = order[:count]
    if pairing == "paired":
        return first, first
    if pairing == "unpaired":
        return first, order[count:needed]
    met = torch.empty_like(first)
    for digit in range(NUM_CLASSES):
        alike, asking = order[labels[order] == digit], labels[first] == digit  # alike starts with those that ask
        met[asking] = alike.roll(-1)[: int(asking.sum())]
    return first, met


class Pairs(Dataset[PairBatch]):
    """Images of A and of B side by side, and A's labels; indexed a batch at a time."""

    def __init__(self, a: ImageSet, b: ImageSet) -> None:
        self.a, self.b = a, b

    def __len__(self) -> int:
        return len(self.a)

    def __getitem__(self, index: int) -> PairBatch:
        return self.a.images[index], self.b.images[index], self.a.labels[index]

    def __getitems__(self, indices: list[int]) -> PairBatch:
        chosen = torch.tensor(indices, device=self.a.labels.device)
        return self.a.images[chosen], self.b.images[chosen], self.a.labels[chosen]


class RenderedImages(ImageData):
    """B alone: an MNIST-like set in another rendering, such as its scorer learns from.

    Args:
        rendering: the map, see `renderings`.
        options: those of `ImageData`.
    """

    def __init__(self, rendering: Rendering, **options: Any) -> None:
        super().__init__(**options)
        self.rendering = rendering

    def setup(self, stage: str | None = None) -> None:
        """Loads the three splits and renders them."""
        super().setup(stage)
        self.train, self.val, self.test = (rendered(part, self.rendering) for part in (self.train, self.val, self.test))


class ImagePairs(ImageData):
    """A and B, paired or not. Validation and test images always come with their true counterparts.

    Args:
        rendering: what makes an image of B of one of A, see `renderings`.
        pairing: of training images, see `pair`.
        pairs: different ones to train on.
        epoch_pairs: that an epoch takes: fewer different ones come up again, as often as it takes; more come up once.
        deform: strength of `augment.random_affine` on what is rendered for training: paired images are then alike,
            not the same.
        options: those of `ImageData`.

    Raises:
        UserError: there is no such pairing, there are not as many images, or not enough for a batch.
    """

    def __init__(
        self, rendering: Rendering, pairing: str, pairs: int, epoch_pairs: int, deform: float, **options: Any
    ) -> None:
        super().__init__(**options)
        if pairing not in PAIRINGS:
            raise UserError(f"data.pairing={pairing}: choose one of {', '.join(PAIRINGS)}.")
        if pairs < self.batch_size:
            raise UserError(f"data.pairs={pairs}: must be at least data.batch_size={self.batch_size}.")
        if epoch_pairs < 1:
            raise UserError(f"data.epoch_pairs={epoch_pairs}: must be at least 1.")
        if deform < 0:
            raise UserError(f"data.deform={deform}: must be at least 0.")
        self.rendering, self.pairing, self.deform = rendering, pairing, deform
        self.pairs, self.epoch_pairs = pairs, epoch_pairs

    def setup(self, stage: str | None = None) -> None:
        """Loads, pairs and renders."""
        super().setup(stage)
        a, b = (self.train.subset(at) for at in pair(self.train.labels.cpu(), self.pairing, self.pairs, self.seed))
        with drawn_from(self.seed):
            b = rendered(b, lambda images: self.rendering(random_affine(images, self.deform)))
        again = torch.arange(max(self.pairs, self.epoch_pairs), device=a.labels.device) % self.pairs
        self.training = Pairs(a.subset(again), b.subset(again))

    def train_dataloader(self) -> ResumableLoader:
        """Batches of pairs."""
        return self.shuffled(self.training, drop_last=True)

    def val_dataloader(self) -> Any:
        """Validation images and their counterparts."""
        return self.in_order(self.counterparts(self.val))

    def test_dataloader(self) -> Any:
        """Test images and their counterparts."""
        return self.in_order(self.counterparts(self.test))

    def counterparts(self, images: ImageSet) -> Pairs:
        """Images of A and what they should become."""
        return Pairs(images, rendered(images, self.rendering))

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> PairBatch:
        """Scales and pads on the device."""
        a, b, labels = batch
        return to_images(a), to_images(b), labels


def first_of_each(images: ImageSet) -> Tensor:
    """The first image of each digit, (10, 1, 32, 32) in [0, 1]."""
    at = [int((images.labels == digit).nonzero()[0]) for digit in range(NUM_CLASSES)]
    return to_images(images.images[at])


def rendered(images: ImageSet, rendering: Rendering) -> ImageSet:
    """The set in another rendering, (N, 32, 32) in 8 bits as images are stored."""
    chunks = (rendering(to_images(chunk)).squeeze(1) for chunk in images.images.split(1000))
    return ImageSet(torch.cat([(chunk * 255).round().to(torch.uint8) for chunk in chunks]), images.labels)
