"""What a batch is: images, labels and pairs."""

IMAGE_SIZE = 32
NUM_CLASSES = 10
SPLIT_SEED = 0  # the split belongs to the data, not to a run
