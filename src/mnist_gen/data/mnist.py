"""What a batch is: an MNIST-like set as one uint8 tensor, handed out by index, scaled and padded on the device.

Everywhere outside an adversarial game an image is float32 in [0, 1], shape (N, 1, 32, 32); inside one it is in
[-1, 1] (`to_signed`, `to_unit`).
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler
from torchvision import datasets

from mnist_gen.data import packed_files
from mnist_gen.errors import UserError

IMAGE_SIZE = 32
NUM_CLASSES = 10
CHUNK = 250  # images that pass a network at once outside training: on two CPU cores faster than more
DATASETS = {"MNIST": datasets.MNIST, "FashionMNIST": datasets.FashionMNIST, "KMNIST": datasets.KMNIST}
VAL_SIZE = 5_000
ALWAYS_TRAIN = 1_000  # the first images stay in training: the report's 50 labels are among them
SPLIT_SEED = 0  # the split is part of the data, not of a run

Batch = tuple[Tensor, Tensor]


def to_images(raw: Tensor) -> Tensor:
    """Stored images, uint8 (N, 28, 28) -> float32 (N, 1, 32, 32) in [0, 1], zero-padded."""
    margin = (IMAGE_SIZE - raw.shape[-1]) // 2
    return F.pad(raw.unsqueeze(1).float().div_(255), (margin,) * 4)


def to_signed(images: Tensor) -> Tensor:
    """[0, 1] -> [-1, 1]."""
    return images * 2 - 1


def to_unit(images: Tensor) -> Tensor:
    """[-1, 1] -> [0, 1]."""
    return (images + 1) / 2


class ImageSet(Dataset[Batch]):
    """Raw images (N, 28, 28) uint8 and labels (N,) int64, indexed a batch at a time."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Batch:
        return self.images[index], self.labels[index]

    def __getitems__(self, indices: list[int]) -> Batch:
        chosen = torch.tensor(indices, device=self.images.device)
        return self.images[chosen], self.labels[chosen]

    def subset(self, indices: Tensor) -> "ImageSet":
        """The images at `indices`, as a set of their own."""
        return ImageSet(self.images[indices], self.labels[indices])

    def drawn(self, count: int, random: torch.Generator) -> "ImageSet":
        """`count` of the images at random, none twice; all if there are not as many."""
        return self.subset(torch.randperm(len(self), generator=random)[:count].to(self.labels.device))

    def to(self, device: torch.device) -> "ImageSet":
        """A copy on `device`."""
        return ImageSet(self.images.to(device), self.labels.to(device))


class ResumableLoader(DataLoader[Batch]):
    """A DataLoader whose next pass leaves out the first `skip` batches, so that a run goes on inside an epoch."""

    skip = 0

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        skip, self.skip = self.skip, 0
        yield from itertools.islice(super().__iter__(), skip, None)


class ImageData(L.LightningDataModule):
    """MNIST, FashionMNIST or KMNIST: 55,000 training, 5,000 validation and 10,000 test images.

    Args:
        dataset: a key of `DATASETS`.
        root: folder that holds `<dataset>/raw/*.gz`; missing files are downloaded there.
        cache: folder for the unpacked files; must be writable.
        batch_size: training images in a batch and process.
        eval_batch_size: validation and test images in a batch.
        seed: orders the training images, differently each epoch.
        train_images: different ones to train on, the first so many; they come up as often as it takes to make an
            epoch as long as with all. None: all.

    Raises:
        UserError: there are not as many training images, a file is corrupt or cannot be fetched, the cache cannot be
            written, or the batch is larger than the set.
    """

    def __init__(
        self,
        dataset: str,
        root: str,
        cache: str,
        batch_size: int,
        eval_batch_size: int = 1000,
        seed: int = 0,
        train_images: int | None = None,
    ) -> None:
        super().__init__()
        if dataset not in DATASETS:
            raise UserError(f"data.dataset={dataset}: choose one of {', '.join(DATASETS)}.")
        for key, size in {"batch_size": batch_size, "eval_batch_size": eval_batch_size}.items():
            if size < 1:
                raise UserError(f"data.{key}={size}: must be at least 1.")
        self.dataset, self.root, self.cache = dataset, Path(root), Path(cache).expanduser()
        self.batch_size, self.eval_batch_size, self.seed = batch_size, eval_batch_size, seed
        self.train_images = train_images
        self._served = 0

    def prepare_data(self) -> None:
        """Verifies the packed files, downloads missing ones and unpacks them into the cache."""
        source = DATASETS[self.dataset]
        for name, md5 in source.resources:
            packed = self.root / self.dataset / "raw" / name
            if not packed.exists():
                packed_files.download(source.mirrors, packed, md5)
            packed_files.verify(packed, md5)
            packed_files.unpack(packed, self.cache / self.dataset / "raw" / packed.stem)

    def setup(self, stage: str | None = None) -> None:
        """Loads the three splits, onto the training device where it has room."""
        source, device = DATASETS[self.dataset], self._device()
        known, test = source(self.cache, train=True), source(self.cache, train=False)
        order = torch.randperm(len(known) - ALWAYS_TRAIN, generator=torch.Generator().manual_seed(SPLIT_SEED))
        in_val = torch.zeros(len(known), dtype=torch.bool)
        in_val[ALWAYS_TRAIN + order[:VAL_SIZE]] = True
        everything = ImageSet(known.data, known.targets).to(device)
        self.train = everything.subset((~in_val).to(device))
        self.val = everything.subset(in_val.to(device))
        self.epoch_images = len(self.train)
        if self.train_images is not None:
            if not 1 <= self.train_images <= len(self.train):
                raise UserError(f"data.train_images={self.train_images}: must be from 1 to {len(self.train)}.")
            self.train = self.train.subset(torch.arange(self.train_images, device=device))
        self.test = ImageSet(test.data, test.targets).to(device)
        if self.batch_size > self.epoch_images:
            raise UserError(
                f"data.batch_size={self.batch_size} is larger than the training set ({self.epoch_images} images)."
            )

    def _device(self) -> torch.device:
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        if device.type == "cuda" and torch.cuda.mem_get_info(device)[0] < 2**30:
            return torch.device("cpu")
        return device

    def train_dataloader(self) -> ResumableLoader:
        """Batches in an order that depends on the seed and the epoch alone, shared out among the processes."""
        if self.train_images is None:
            return self.shuffled(self.train, drop_last=True)
        again = torch.arange(self.epoch_images, device=self.train.labels.device) % len(self.train)
        return self.shuffled(self.train.subset(again), drop_last=True)

    def shuffled(self, images: Dataset[Any], drop_last: bool) -> ResumableLoader:
        """A loader over a set, as `train_dataloader`."""
        sampler: DistributedSampler[Any] = DistributedSampler(
            images,
            num_replicas=self.trainer.world_size if self.trainer else 1,
            rank=self.trainer.global_rank if self.trainer else 0,
            seed=self.seed,
            drop_last=drop_last,
        )
        loader = ResumableLoader(
            images,
            batch_size=self.batch_size,
            sampler=sampler,
            drop_last=drop_last,
            collate_fn=_as_is,
            generator=torch.Generator(),  # else each pass would draw from the global one, and a resumed run differ
        )
        loader.skip, self._served = self._served, 0
        return loader

    def state_dict(self) -> dict[str, int]:
        """Batches of the current epoch already served; goes into each checkpoint.

        Kept here and not in the loader, which Lightning builds before it would restore it.
        """
        assert self.trainer is not None
        progress = self.trainer.fit_loop.epoch_loop.batch_progress
        return {"served": 0 if progress.is_last_batch else progress.current.ready}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The first pass starts behind them."""
        self._served = state["served"]

    def val_dataloader(self) -> DataLoader[Batch]:
        """The validation images in their own order."""
        return self.in_order(self.val)

    def test_dataloader(self) -> DataLoader[Batch]:
        """The test images in their own order."""
        return self.in_order(self.test)

    def in_order(self, images: Dataset[Any]) -> DataLoader[Any]:
        """A loader over a set as it lies."""
        return DataLoader(images, batch_size=self.eval_batch_size, collate_fn=_as_is, generator=torch.Generator())

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Any:
        """Scales and pads on the device."""
        raw, labels = batch
        return to_images(raw), labels


def _as_is(batch: Any) -> Any:
    return batch
