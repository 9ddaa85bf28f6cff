"""Small image-generation research on MNIST."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def load(path: "str | Path", trust: "Sequence[str]" = ()) -> Any:
    """The trained module behind a checkpoint, ready to use: `load(path).sample(digit=3, count=25)`.

    A checkpoint that names classes of your own package needs `trust=["my_package"]`.
    """
    from mnist_gen.runs import checkpoint  # here, so that `import mnist_gen` does not import torch

    return checkpoint.load(path, trust)
