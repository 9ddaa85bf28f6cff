"""MNIST-like data: all images in one uint8 tensor, batches by index, scaled and padded on the device.

Images are float32 (N, 1, 32, 32) in [0, 1], and in [-1, 1] only inside an adversarial game (`to_signed`, `to_unit`).
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torch.utils.data.distributed import DistributedSampler
from torchvision import datasets

from mnist_gen.data import IMAGE_SIZE, SPLIT_SEED, own_images, packed_files
from mnist_gen.errors import UserError, check_choice

CHUNK = 250  # images per forward pass outside training; larger chunks are slower on two CPU cores
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


class TensorSet(TensorDataset):
    """Tensors of equal length; a DataLoader fetches a batch of each with one indexing."""

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, ...]:
        return self[torch.tensor(indices, device=self.tensors[0].device)]


class ImageSet(TensorSet):
    """Raw images (N, 28, 28) or (N, 32, 32) uint8 and labels (N,) int64."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        super().__init__(images, labels)
        self.images, self.labels = images, labels

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
        return self.subset(torch.randperm(len(self), generator=random)[:count].to(self.labels.device))

    def to(self, device: torch.device) -> "ImageSet":
        return ImageSet(self.images.to(device), self.labels.to(device))


class ResumableLoader(DataLoader[Any]):
    """A DataLoader whose next pass skips the first `skip` batches, to resume a run inside an epoch."""

    skip = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        skip, self.skip = self.skip, 0
        yield from itertools.islice(super().__iter__(), skip, None)


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

    def _load(self) -> list[ImageSet]:
        """Training and validation images in one set, and the test images."""
        if self.path is not None:
            return [ImageSet(*part) for part in own_images.load(self.path)]
        parts = (DATASETS[self.dataset](self.cache, train=is_train) for is_train in (True, False))
        return [ImageSet(part.data, part.targets) for part in parts]

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled training batches, split among the processes. The order depends only on the seed and the epoch."""
        images = self.train if self.train_images is None else self.train.repeated(self.epoch_images)
        return self.shuffled(images, drop_last=True)

    def shuffled(self, images: Dataset[Any], drop_last: bool) -> ResumableLoader:
        """A loader that shuffles a data set as `train_dataloader` does."""
        processes, rank = (self.trainer.world_size, self.trainer.global_rank) if self.trainer else (1, 0)
        loader = ResumableLoader(
            images,
            batch_size=self.batch_size,
            sampler=DistributedSampler(images, processes, rank, seed=self.seed, drop_last=drop_last),
            drop_last=drop_last,
            collate_fn=tuple,  # a fetched batch is a tuple already
            generator=torch.Generator(),  # the global one would advance with each pass, and a resumed run would differ
        )
        loader.skip, self._served = self._served, 0
        return loader

    def state_dict(self) -> dict[str, int]:
        """The number of batches served in this epoch; Lightning would restore it too late for the loader itself."""
        assert self.trainer is not None
        progress = self.trainer.fit_loop.epoch_loop.batch_progress
        return {"served": 0 if progress.is_last_batch else progress.current.ready}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._served = state["served"]

    def val_dataloader(self) -> DataLoader[Any]:
        return self.in_order(self.val)

    def test_dataloader(self) -> DataLoader[Any]:
        return self.in_order(self.test)

    def in_order(self, images: Any) -> DataLoader[Any]:
        """A loader that does not shuffle."""
        return DataLoader(images, batch_size=self.eval_batch_size, collate_fn=tuple, generator=torch.Generator())

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Scales and pads raw images on the device; the batch's other tensors are not uint8."""
        return tuple(to_images(part) if part.dtype == torch.uint8 else part for part in batch)
