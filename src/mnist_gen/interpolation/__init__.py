"""Paths between two digits."""

from mnist_gen.interpolation.study import Interpolation

__all__ = ["Interpolation"]
