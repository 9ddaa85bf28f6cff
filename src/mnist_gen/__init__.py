"""Small image-generation research on MNIST."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def load(path: "str | Path") -> Any:
    """The trained module behind a checkpoint, ready to use: `load(path).sample(digit=3, count=25)`."""
    from mnist_gen.runs import checkpoint  # here, so that `import mnist_gen` does not import torch

    return checkpoint.load(path)
