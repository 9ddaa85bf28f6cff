"""Classifiers that learn from a few labels."""

from mnist_gen.transfer.transfer import Transfer

__all__ = ["Transfer"]
