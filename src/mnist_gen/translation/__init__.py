"""Translation of images into another rendering."""

from mnist_gen.translation.translation import Translation

__all__ = ["Translation"]
