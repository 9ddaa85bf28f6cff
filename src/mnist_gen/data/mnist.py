"""MNIST-like data: all images in one uint8 tensor, batches by index, scaled and padded on the device.

Images are float32 (N, 1, 32, 32) in [0, 1], and in [-1, 1] only inside an adversarial game (`to_signed`, `to_unit`).
"""

from pathlib import Path
from typing import Any, Self

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import TensorDataset
from torchvision import datasets

from mnist_gen.data import IMAGE_SIZE, SPLIT_SEED, own_images, packed_files
from mnist_gen.data.batches import Batches, Indexed, ShuffledBatches
from mnist_gen.errors import UserError, check_choice

DATASETS = {"MNIST": datasets.MNIST, "FashionMNIST": datasets.FashionMNIST, "KMNIST": datasets.KMNIST}
VAL_SIZE = 5_000
ALWAYS_TRAIN = 1_000  # the first images always stay in training; they include the student report's 50 labels

Batch = tuple[Tensor, Tensor]


def to_images(raw: Tensor) -> Tensor:
    """Scales and zero-pads raw images: uint8 (..., 28, 28) or (..., 32, 32) -> float32 (..., 1, 32, 32) in [0, 1]."""
    margin = (IMAGE_SIZE - raw.shape[-1]) // 2
    return F.pad(raw.unsqueeze(-3).float().div_(255), (margin,) * 4)


def to_signed(images: Tensor) -> Tensor:
    """Maps [0, 1] to [-1, 1]."""
    return images * 2 - 1


def to_unit(images: Tensor) -> Tensor:
    """Maps [-1, 1] to [0, 1]."""
    return (images + 1) / 2


def chunks(values: Tensor) -> tuple[Tensor, ...]:
    """Parts of images or latents (N, ...), each for one forward pass outside training.

    On two CPU cores 250 images are 1.7 times as fast as 1,000; a GPU needs many.
    """
    if torch.compiler.is_exporting():  # the export takes batches of any size
        return (values,)
    return values.split(250 if values.device.type == "cpu" else 5_000)


class ImageSet(TensorDataset):
    """Raw images (N, 28, 28) or (N, 32, 32) uint8 and labels (N,) int64."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        super().__init__(images, labels)
        self.images, self.labels = images, labels

    def numbered(self) -> "ImageSet":
        """The images with their positions instead of labels."""
        return ImageSet(self.images, torch.arange(len(self), device=self.labels.device))

    def subset(self, indices: Tensor) -> "ImageSet":
        return ImageSet(*self[indices])

    def first(self, count: int | None) -> "ImageSet":
        """At most `count` images from the start; None for all."""
        return ImageSet(*self[:count])

    def repeated(self, count: int) -> "ImageSet":
        """The images in order, again and again, until there are `count`."""
        return self.subset(torch.arange(count, device=self.labels.device) % len(self))

    def drawn(self, count: int, random: torch.Generator) -> "ImageSet":
        """A random subset of at most `count` images."""
        return self.subset(self.order(count, random))

    def order(self, count: int, random: torch.Generator) -> Tensor:
        """The positions of `drawn`."""
        return torch.randperm(len(self), generator=random)[:count].to(self.labels.device)

    def to(self, device: torch.device) -> "ImageSet":
        return ImageSet(self.images.to(device), self.labels.to(device))


class ImageData(L.LightningDataModule):
    """MNIST, FashionMNIST or KMNIST: 55,000 training, 5,000 validation and 10,000 test images. Or your own images."""

    def __init__(
        self,
        dataset: str,  # a key of `DATASETS`; with `path`, the fingerprint of its images
        root: str,  # folder that holds `<dataset>/raw/*.gz`; missing files are downloaded there
        cache: str,  # folder for the unpacked files
        batch_size: int,  # training images per batch and process
        eval_batch_size: int = 1000,
        seed: int = 0,  # of the order of the training images, which differs in each epoch
        train_images: int | None = None,  # train on the first N only, in epochs of the same length; None for all
        path: str | None = None,  # of your own images, see `own_images`; a tenth of them is for validation
    ) -> None:
        super().__init__()
        self.path = None if path is None else Path(path).expanduser()
        if self.path is None:
            check_choice("data.dataset", dataset, tuple(DATASETS))
        self.dataset, self.root, self.cache = dataset, Path(root), Path(cache).expanduser()
        self.batch_size, self.eval_batch_size, self.seed = batch_size, eval_batch_size, seed
        self.train_images = train_images
        self.hides_labels = False  # whether training batches bring positions instead of labels
        self._served = 0

    def prepare_data(self) -> None:
        """Downloads missing files, verifies all and unpacks them into the cache."""
        if self.path is not None:
            return
        source = DATASETS[self.dataset]
        for name, md5 in source.resources:
            packed = self.root / self.dataset / "raw" / name
            packed_files.provide(packed, md5, source.mirrors)
            packed_files.unpack(packed, self.cache / self.dataset / "raw" / packed.stem)

    def setup(self, stage: str | None = None) -> None:
        """Loads the three splits onto the training device, or into main memory if the device is nearly full."""
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        if device.type == "cuda" and torch.cuda.mem_get_info(device)[0] < 2**30:
            device = torch.device("cpu")
        train_and_val, self.test = (images.to(device) for images in self._load())
        count = len(train_and_val)
        always_train, val_size = (ALWAYS_TRAIN, VAL_SIZE) if self.path is None else (0, -(-count // 10))
        order = torch.randperm(count - always_train, generator=torch.Generator().manual_seed(SPLIT_SEED))
        in_val = torch.zeros(count, dtype=torch.bool)
        in_val[always_train + order[:val_size]] = True
        train, self.val = (train_and_val.subset(chosen.to(device)) for chosen in (~in_val, in_val))
        for key, size in {"train_images": self.train_images, "batch_size": self.batch_size}.items():
            if size is not None and size > len(train):
                raise UserError(f"data.{key}={size} is larger than the training set ({len(train)} images).")
        self.epoch_images = len(train)
        self.train = train.first(self.train_images)

    def loaded(self) -> Self:
        """Itself, after `prepare_data` and `setup`, for use without a Trainer."""
        self.prepare_data()
        self.setup()
        return self

    def _load(self) -> list[ImageSet]:
        """Training and validation images in one set, and the test images."""
        if self.path is not None:
            return [ImageSet(*part) for part in own_images.load(self.path)]
        parts = (DATASETS[self.dataset](self.cache, train=is_train) for is_train in (True, False))
        return [ImageSet(part.data, part.targets) for part in parts]

    def described(self) -> str:
        """The training images in words."""
        return f"{len(self.train):,} of {self.dataset}"

    def train_dataloader(self) -> ShuffledBatches:
        """Shuffled training batches, split among the processes."""
        images = self.train.numbered() if self.hides_labels else self.train
        if self.train_images is not None:
            images = images.repeated(self.epoch_images)
        return self.shuffled(images, drop_last=True)

    def shuffled(self, items: Indexed, drop_last: bool) -> ShuffledBatches:
        """Shuffled batches of a data set, on the training device."""
        process, processes = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        skip, self._served = self._served, 0
        device = self.train.labels.device
        return ShuffledBatches(items, self.batch_size, device, self.seed, drop_last, process, processes, skip)

    def state_dict(self) -> dict[str, int]:
        """The number of batches served in this epoch; Lightning would restore it too late for the loader itself."""
        assert self.trainer is not None
        progress = self.trainer.fit_loop.epoch_loop.batch_progress
        return {"served": 0 if progress.is_last_batch else progress.current.ready}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._served = state["served"]

    def val_dataloader(self) -> Batches:
        return self.in_order(self.val)

    def test_dataloader(self) -> Batches:
        return self.in_order(self.test)

    def in_order(self, items: Any) -> Batches:
        """Batches that are not shuffled."""
        return Batches(items, self.eval_batch_size, self.train.labels.device)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Scales and pads raw images on the device; the batch's other tensors are not uint8."""
        return tuple(to_images(part) if part.dtype == torch.uint8 else part for part in batch)
