"""Small image-generation research on MNIST.

`mnist_gen.load("cgan").sample(digit=3)` draws images; `mnist_gen.models()` lists the trained models in the package.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_gen.inference.sampling import interpolate
    from mnist_gen.inference.stored import load, models

__all__ = ["interpolate", "load", "models"]
MODULES = {"interpolate": "sampling", "load": "stored", "models": "stored"}


def __getattr__(name: str) -> Any:
    """Imports torch only when it is needed: the command line answers mistakes without it."""
    if name in MODULES:
        return getattr(import_module(f"mnist_gen.inference.{MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
