"""Transformers that compute what convolutions and dense layers compute."""

from mnist_gen.transformers.mimicry import Mimicry

__all__ = ["Mimicry"]
