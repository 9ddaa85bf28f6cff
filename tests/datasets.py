"""MNIST itself, and small stand-ins for it, as fixtures of all tests."""

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torchvision import datasets

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="session")
def real() -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """The real MNIST: raw images and labels of its two parts."""
    from mnist_gen.data.mnist import ImageData

    data = ImageData("MNIST", str(DATA), "~/.cache/mnist_gen", batch_size=64)
    data.prepare_data()
    data.setup()
    return {"train": (data.train.images, data.train.labels), "test": (data.test.images, data.test.labels)}


def write_idx(path: Path, values: torch.Tensor) -> tuple[str, str]:
    """Writes MNIST's own format, packed; returns the file's name and MD5."""
    header = bytes([0, 0, 8, values.dim()]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(header + values.to(torch.uint8).numpy().tobytes(), mtime=0))
    return path.name, hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def tiny_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with 300 training images, 60 of them for validation, and 100 test images; `MNIST` now means this."""
    from mnist_gen.data import mnist

    root = tmp_path / "data"
    random = torch.Generator().manual_seed(0)
    resources = []
    for part, count in (("train", 300), ("t10k", 100)):
        images = torch.randint(0, 256, (count, 28, 28), generator=random)
        labels = torch.arange(count) % 10
        resources.append(write_idx(root / f"MNIST/raw/{part}-images-idx3-ubyte.gz", images))
        resources.append(write_idx(root / f"MNIST/raw/{part}-labels-idx1-ubyte.gz", labels))
    tiny = type("MNIST", (datasets.MNIST,), {"resources": resources, "mirrors": []})
    monkeypatch.setitem(mnist.DATASETS, "MNIST", tiny)
    monkeypatch.setattr(mnist, "VAL_SIZE", 60)
    monkeypatch.setattr(mnist, "ALWAYS_TRAIN", 100)
    return root


@pytest.fixture
def blind_labels(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """After `blind_labels()`, runs from a few labels see no right label but those few."""
    from mnist_gen.data.few_labels import PartlyLabelled

    setup = PartlyLabelled.setup

    def blind(self: PartlyLabelled, stage: str | None = None) -> None:
        setup(self, stage)
        hidden = torch.ones(len(self.train), dtype=torch.bool)
        hidden[self.positions[0]] = False
        self.train.labels[hidden] = 0
        self.val.labels.zero_()

    return lambda: monkeypatch.setattr(PartlyLabelled, "setup", blind)
