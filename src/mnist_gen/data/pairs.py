"""Image pairs for translation: class A holds digits, class B other renderings of digits, or another data set.

A rendering is a fixed map, so each image of A has a true counterpart in B; training sees it only if images are paired.
Another data set, such as FashionMNIST, is matched by class number only and has no counterparts.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from mnist_gen.data import NUM_CLASSES
from mnist_gen.data.augment import drawn_from, random_affine
from mnist_gen.data.batches import Batches, ShuffledBatches
from mnist_gen.data.mnist import ImageData, ImageSet, to_images
from mnist_gen.errors import UserError

PairBatch = tuple[Tensor, Tensor, Tensor]  # images of A, images of B, labels of A
Rendering = Callable[[Tensor], Tensor]
PAIRINGS = ("paired", "loose", "unpaired")


def pair_images(labels: Tensor, pairing: str, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Positions (count,) of A's images, and of the images to render for B, among all images with `labels` (N,).

    `paired` chooses the same image for B, `loose` another image of the same digit, `unpaired` any image outside A.
    The images of A depend on the seed only.
    """
    needed = 2 * count if pairing == "unpaired" else count
    if needed > len(labels):
        raise UserError(f"data.pairs={count}: {pairing} needs {needed} images, there are {len(labels)}.")
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    a = order[:count]
    if pairing == "paired":
        return a, a
    if pairing == "unpaired":
        return a, order[count:needed]
    b = torch.empty_like(a)
    for digit in range(NUM_CLASSES):
        of_digit, in_a = order[labels[order] == digit], labels[a] == digit  # of_digit starts with the images of A
        b[in_a] = of_digit.roll(-1)[: int(in_a.sum())]
    return a, b


class PairSet(TensorDataset):
    """Images of A and B side by side, with A's labels."""

    def __init__(self, a: ImageSet, b: ImageSet) -> None:
        super().__init__(a.images, b.images, a.labels)
        self.a, self.b = a, b


class RenderedImages(ImageData):
    """Class B alone: an MNIST-like set in another rendering, to train the scorer of B; options as `ImageData`."""

    def __init__(self, rendering: Rendering, **options: Any) -> None:
        super().__init__(**options)
        self.rendering = rendering

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        self.train, self.val, self.test = (render(part, self.rendering) for part in (self.train, self.val, self.test))


class ImagePairs(ImageData):
    """Classes A and B, paired or not. Validation and test images always come with their true counterparts."""

    true_counterparts = True

    def __init__(
        self,
        rendering: Rendering,  # from A to B, see `renderings`
        pairing: str,  # of the training images, see `pair_images`
        pairs: int,
        epoch_pairs: int,  # a smaller set is repeated, a larger set passes once
        deform: float,  # strength of `random_affine` before the rendering: counterparts then only resemble their images
        **options: Any,  # of `ImageData`
    ) -> None:
        super().__init__(**options)
        if pairs < self.batch_size:
            raise UserError(f"data.pairs={pairs}: must be at least data.batch_size={self.batch_size}.")
        self.rendering, self.pairing, self.deform = rendering, pairing, deform
        self.pairs, self.epoch_pairs = pairs, epoch_pairs

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        a, b = self.matched()
        count = max(self.pairs, self.epoch_pairs)
        self.training = PairSet(a.repeated(count), b.repeated(count))

    def described(self) -> str:
        return f"{self.pairs:,} pairs of {self.dataset}, {self.pairing}"

    def matched(self) -> tuple[ImageSet, ImageSet]:
        """Training images of A, and for each its partner in B."""
        positions = pair_images(self.train.labels.cpu(), self.pairing, self.pairs, self.seed)
        a, b = (self.train.subset(chosen) for chosen in positions)
        with drawn_from(self.seed):
            return a, render(b, lambda images: self.rendering(random_affine(images, self.deform)))

    def train_dataloader(self) -> ShuffledBatches:
        return self.shuffled(self.training, drop_last=True)

    def in_order(self, images: ImageSet) -> Batches:
        """A loader of images and their counterparts that does not shuffle."""
        return super().in_order(self.counterparts(images))

    def counterparts(self, images: ImageSet) -> PairSet:
        """Pairs images of A with their true counterparts in B."""
        return PairSet(images, render(images, self.rendering))

    def known_of_b(self, count: int) -> ImageSet:
        """The first `count` training images of B."""
        return render(self.train.first(count), self.rendering)


class DatasetPairs(ImagePairs):
    """Class A, and another data set (a key of `mnist.DATASETS`) as class B, without true counterparts.

    Options are those of `ImagePairs`, without `rendering` and `deform`; images cannot be paired.
    """

    true_counterparts = False

    def __init__(self, other: str, **options: Any) -> None:
        super().__init__(rendering=nn.Identity(), deform=0.0, **options)
        if self.pairing == "paired":
            raise UserError(f"data.pairing=paired: {other} holds no counterparts of digits; choose loose or unpaired.")
        self.others = ImageData(other, str(self.root), str(self.cache), self.batch_size)

    def prepare_data(self) -> None:
        super().prepare_data()
        self.others.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        self.others.setup(stage)
        super().setup(stage)

    def matched(self) -> tuple[ImageSet, ImageSet]:
        """Training images of A, and for each its partner in B: one of the same class if `loose`, else any."""
        if self.pairs > len(self.train):
            raise UserError(f"data.pairs={self.pairs}: there are {len(self.train)} images.")
        a = self.train.drawn(self.pairs, torch.Generator().manual_seed(self.seed))
        mixed = self.others.train.drawn(len(self.others.train), torch.Generator().manual_seed(self.seed + 1))
        b = _of_classes(mixed, a.labels) if self.pairing == "loose" else mixed.first(self.pairs)
        return a, b.to(a.labels.device)

    def known_of_b(self, count: int) -> ImageSet:
        return self.others.train.first(count)

    def counterparts(self, images: ImageSet) -> PairSet:
        """Pairs images of A with images of the same class in B."""
        others = self.others.val if images is self.val else self.others.test
        return PairSet(images, _of_classes(others, images.labels))


def _of_classes(images: ImageSet, labels: Tensor) -> ImageSet:
    """Images whose classes are `labels` (N,), in order of appearance; a class with too few images is repeated."""
    positions = torch.empty_like(labels)
    for digit in range(NUM_CLASSES):
        of_digit, requested = (images.labels == digit).nonzero().flatten(), labels == digit
        positions[requested] = of_digit[torch.arange(int(requested.sum())) % len(of_digit)].to(positions.device)
    return images.subset(positions.to(images.labels.device)).to(labels.device)


def first_of_each(images: ImageSet) -> ImageSet:
    """The first image of each digit that there is."""
    first = [int((images.labels == digit).nonzero()[0]) for digit in images.labels.unique().tolist()]
    return images.subset(torch.tensor(first, device=images.labels.device))


def render(images: ImageSet, rendering: Rendering) -> ImageSet:
    """Renders a set and stores it like raw images: uint8, here (N, 32, 32)."""
    chunks = (rendering(to_images(chunk)).squeeze(1) for chunk in images.images.split(1000))
    return ImageSet(torch.cat([(chunk * 255).round().to(torch.uint8) for chunk in chunks]), images.labels)
