"""Trained models at work: in the package, sampling, your own pictures, export."""

from mnist_gen.inference.sampling import interpolate
from mnist_gen.inference.stored import load, models

__all__ = ["interpolate", "load", "models"]
