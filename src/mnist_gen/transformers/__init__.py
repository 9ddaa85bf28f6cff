"""Transformers that do what convolutions and dense layers do."""

from mnist_gen.transformers.mimicry import Mimicry

__all__ = ["Mimicry"]
