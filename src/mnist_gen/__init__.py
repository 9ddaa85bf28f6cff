"""Small image-generation research on MNIST.

`mnist_gen.load("cgan").sample(digit=3)` draws images; `mnist_gen.models()` lists the trained models in the package.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_gen.inference import interpolate, load, models

__all__ = ["interpolate", "load", "models"]


def __getattr__(name: str) -> Any:
    """Imports torch only when it is needed: the command line answers mistakes without it."""
    if name in __all__:
        return getattr(import_module("mnist_gen.inference"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
