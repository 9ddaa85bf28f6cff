"""MNIST-like data: all images in one uint8 tensor, batches by index, scaled and padded on the device.

Images are float32 (N, 1, 32, 32) in [0, 1]. Only inside an adversarial game they are in [-1, 1] (`to_signed`,
`to_unit`).
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

from mnist_gen.data import IMAGE_SIZE, SPLIT_SEED, own_images, packed_files
from mnist_gen.errors import UserError, check_at_least, check_choice

CHUNK = 250  # images per forward pass outside training; larger chunks are slower on two CPU cores
DATASETS = {"MNIST": datasets.MNIST, "FashionMNIST": datasets.FashionMNIST, "KMNIST": datasets.KMNIST}
VAL_SIZE = 5_000
ALWAYS_TRAIN = 1_000  # the first images always stay in training; they include the student report's 50 labels

Batch = tuple[Tensor, Tensor]


def to_images(raw: Tensor) -> Tensor:
    """Scales and zero-pads raw images: uint8 (N, 28, 28) or (N, 32, 32) -> float32 (N, 1, 32, 32) in [0, 1]."""
    margin = (IMAGE_SIZE - raw.shape[-1]) // 2
    return F.pad(raw.unsqueeze(1).float().div_(255), (margin,) * 4)


def to_signed(images: Tensor) -> Tensor:
    """Maps [0, 1] to [-1, 1]."""
    return images * 2 - 1


def to_unit(images: Tensor) -> Tensor:
    """Maps [-1, 1] to [0, 1]."""
    return (images + 1) / 2


class ImageSet(Dataset[Batch]):
    """Raw images (N, 28, 28) or (N, 32, 32) uint8 and labels (N,) int64, fetched a batch at a time."""

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
        """A new set of the images at `indices`."""
        return ImageSet(self.images[indices], self.labels[indices])

    def drawn(self, count: int, random: torch.Generator) -> "ImageSet":
        """A random subset of at most `count` images."""
        return self.subset(torch.randperm(len(self), generator=random)[:count].to(self.labels.device))

    def to(self, device: torch.device) -> "ImageSet":
        """A copy on `device`."""
        return ImageSet(self.images.to(device), self.labels.to(device))


class ResumableLoader(DataLoader[Batch]):
    """A DataLoader whose next pass skips the first `skip` batches, to resume a run inside an epoch."""

    skip = 0

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        skip, self.skip = self.skip, 0
        yield from itertools.islice(super().__iter__(), skip, None)


class ImageData(L.LightningDataModule):
    """MNIST, FashionMNIST, KMNIST or your own images.

    MNIST and its kin have 55,000 training, 5,000 validation and 10,000 test images.

    Args:
        dataset: a key of `DATASETS`; with `path`, the fingerprint of its images.
        root: folder that holds `<dataset>/raw/*.gz`; missing files are downloaded there.
        cache: folder for the unpacked files; must be writable.
        batch_size: training images per batch and process.
        eval_batch_size: validation and test images per batch.
        seed: of the order of the training images, which differs in each epoch.
        train_images: train on the first N images only, in epochs of the same length; None for all.
        path: of your own images, see `own_images`; a tenth of them is for validation. None for MNIST and its kin.

    Raises:
        UserError: an argument is out of range, a file is corrupt or cannot be downloaded, or the cache is not writable.
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
        path: str | None = None,
    ) -> None:
        super().__init__()
        self.path = None if path is None else Path(path).expanduser()
        if self.path is None:
            check_choice("data.dataset", dataset, tuple(DATASETS))
        check_at_least(1, "data", batch_size=batch_size, eval_batch_size=eval_batch_size)
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
            if not packed.exists():
                packed_files.download(source.mirrors, packed, md5)
            packed_files.verify(packed, md5)
            packed_files.unpack(packed, self.cache / self.dataset / "raw" / packed.stem)

    def setup(self, stage: str | None = None) -> None:
        """Loads the three splits onto the training device, or into main memory if the device is nearly full."""
        device = self._device()
        train_and_val, test = (images.to(device) for images in self._load())
        count = len(train_and_val)
        always_train, val_size = (ALWAYS_TRAIN, VAL_SIZE) if self.path is None else (0, -(-count // 10))
        order = torch.randperm(count - always_train, generator=torch.Generator().manual_seed(SPLIT_SEED))
        in_val = torch.zeros(count, dtype=torch.bool)
        in_val[always_train + order[:val_size]] = True
        self.train = train_and_val.subset((~in_val).to(device))
        self.val = train_and_val.subset(in_val.to(device))
        self.epoch_images = len(self.train)
        if self.train_images is not None:
            if not 1 <= self.train_images <= len(self.train):
                raise UserError(f"data.train_images={self.train_images}: must be from 1 to {len(self.train)}.")
            self.train = self.train.subset(torch.arange(self.train_images, device=device))
        self.test = test
        if self.batch_size > self.epoch_images:
            raise UserError(
                f"data.batch_size={self.batch_size} is larger than the training set ({self.epoch_images} images)."
            )

    def _load(self) -> tuple[ImageSet, ImageSet]:
        """Training and validation images in one set, and the test images."""
        if self.path is not None:
            train, test = own_images.load(self.path)
            return ImageSet(*train), ImageSet(*test)
        parts = (DATASETS[self.dataset](self.cache, train=is_train) for is_train in (True, False))
        train_and_val, test_set = (ImageSet(part.data, part.targets) for part in parts)
        return train_and_val, test_set

    def _device(self) -> torch.device:
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        if device.type == "cuda" and torch.cuda.mem_get_info(device)[0] < 2**30:
            return torch.device("cpu")
        return device

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled training batches, split among the processes. The order depends only on the seed and the epoch."""
        if self.train_images is None:
            return self.shuffled(self.train, drop_last=True)
        repeated = torch.arange(self.epoch_images, device=self.train.labels.device) % len(self.train)
        return self.shuffled(self.train.subset(repeated), drop_last=True)

    def shuffled(self, images: Dataset[Any], drop_last: bool) -> ResumableLoader:
        """A loader that shuffles a data set as `train_dataloader` does."""
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
            generator=torch.Generator(),  # the global one would advance with each pass, and a resumed run would differ
        )
        loader.skip, self._served = self._served, 0
        return loader

    def state_dict(self) -> dict[str, int]:
        """The number of batches served in the current epoch, for checkpoints.

        The data module holds it because Lightning builds the loader before it would restore the loader's state.
        """
        assert self.trainer is not None
        progress = self.trainer.fit_loop.epoch_loop.batch_progress
        return {"served": 0 if progress.is_last_batch else progress.current.ready}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Makes the next pass skip the batches already served."""
        self._served = state["served"]

    def val_dataloader(self) -> DataLoader[Batch]:
        return self.in_order(self.val)

    def test_dataloader(self) -> DataLoader[Batch]:
        return self.in_order(self.test)

    def in_order(self, images: Dataset[Any]) -> DataLoader[Any]:
        """A loader that does not shuffle."""
        return DataLoader(images, batch_size=self.eval_batch_size, collate_fn=_as_is, generator=torch.Generator())

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Any:
        """Scales and pads on the device."""
        raw, labels = batch
        return to_images(raw), labels


def _as_is(batch: Any) -> Any:
    return batch
