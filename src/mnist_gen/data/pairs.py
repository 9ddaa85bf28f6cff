"""Two classes of images for a translation: A, the digits, and B, another rendering of digits; and who meets whom.

The rendering is a fixed map, so each image of A has a true counterpart. Training sees it only where images are paired.
Or B is another set, such as FashionMNIST, whose tenth class a nine should become: then there are no counterparts.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from mnist_gen.data.augment import drawn_from, random_affine
from mnist_gen.data.mnist import NUM_CLASSES, ImageData, ImageSet, ResumableLoader, to_images
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

    true_counterparts = True

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
        a, b = self.met()
        again = torch.arange(max(self.pairs, self.epoch_pairs), device=a.labels.device) % self.pairs
        self.training = Pairs(a.subset(again), b.subset(again))

    def met(self) -> tuple[ImageSet, ImageSet]:
        """Training images of A, and those of B that they meet."""
        a, b = (self.train.subset(at) for at in pair(self.train.labels.cpu(), self.pairing, self.pairs, self.seed))
        with drawn_from(self.seed):
            return a, rendered(b, lambda images: self.rendering(random_affine(images, self.deform)))

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

    def known_of_b(self, count: int) -> ImageSet:
        """Training images of B, the first so many."""
        few = torch.arange(min(count, len(self.train)), device=self.train.labels.device)
        return rendered(self.train.subset(few), self.rendering)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> PairBatch:
        """Scales and pads on the device."""
        a, b, labels = batch
        return to_images(a), to_images(b), labels


class SetPairs(ImagePairs):
    """A, and another set as B, class by class: images have no true counterparts, and cannot be paired.

    Args:
        other: B's, a key of `data.DATASETS`.
        options: those of `ImagePairs` but for the rendering and what deforms it.

    Raises:
        UserError: images are to be paired, or what `ImagePairs` raises.
    """

    true_counterparts = False

    def __init__(self, other: str, **options: Any) -> None:
        super().__init__(rendering=nn.Identity(), deform=0.0, **options)
        if self.pairing == "paired":
            raise UserError(f"data.pairing=paired: {other} holds no counterparts of digits; choose loose or unpaired.")
        self.others = ImageData(other, str(self.root), str(self.cache), self.batch_size)

    def prepare_data(self) -> None:
        """Both sets."""
        super().prepare_data()
        self.others.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """Loads both and lets images meet."""
        self.others.setup(stage)
        super().setup(stage)

    def met(self) -> tuple[ImageSet, ImageSet]:
        """Training images of A, and those of B that they meet: of the same class, or any."""
        order = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(self.seed))
        if self.pairs > len(order):
            raise UserError(f"data.pairs={self.pairs}: there are {len(order)} images.")
        a = self.train.subset(order[: self.pairs].to(self.train.labels.device))
        mixed = self.others.train.drawn(len(self.others.train), torch.Generator().manual_seed(self.seed + 1))
        return a, _of_classes(mixed, a.labels) if self.pairing == "loose" else mixed.subset(torch.arange(self.pairs))

    def known_of_b(self, count: int) -> ImageSet:
        """Training images of B, the first so many."""
        return self.others.train.subset(torch.arange(min(count, len(self.others.train))))

    def counterparts(self, images: ImageSet) -> Pairs:
        """Images of A and others of B, of the class that they should become."""
        others = self.others.val if images is self.val else self.others.test
        return Pairs(images, _of_classes(others, images.labels))


def _of_classes(images: ImageSet, labels: Tensor) -> ImageSet:
    """Images of the classes asked for by labels (N,), each in turn, over again where there are not enough."""
    at = torch.empty_like(labels)
    for digit in range(NUM_CLASSES):
        known, asked = (images.labels == digit).nonzero().flatten(), labels == digit
        at[asked] = known[torch.arange(int(asked.sum())) % len(known)].to(at.device)
    return images.subset(at.to(images.labels.device)).to(labels.device)


def first_of_each(images: ImageSet) -> ImageSet:
    """The first image of each digit."""
    at = [int((images.labels == digit).nonzero()[0]) for digit in range(NUM_CLASSES)]
    return images.subset(torch.tensor(at, device=images.labels.device))


def rendered(images: ImageSet, rendering: Rendering) -> ImageSet:
    """The set in another rendering, (N, 32, 32) in 8 bits as images are stored."""
    chunks = (rendering(to_images(chunk)).squeeze(1) for chunk in images.images.split(1000))
    return ImageSet(torch.cat([(chunk * 255).round().to(torch.uint8) for chunk in chunks]), images.labels)
