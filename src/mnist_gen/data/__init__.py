"""Data sets and batches: images, labels and pairs."""
