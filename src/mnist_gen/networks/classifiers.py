"""Classifiers that measure generators: images (N, 1, 32, 32) in [0, 1] -> logits (N, 10)."""

from torch import Tensor, nn

from mnist_gen.data import NUM_CLASSES
from mnist_gen.networks.layers import convolution


class Scorer(nn.Module):
    """The reference classifier: images -> logits (N, 10). `features` gives its features (N, 128)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *convolution(1, 16, 3),  # (N, 16, 32, 32)
            *convolution(16, 32, 4, stride=2),  # (N, 32, 16, 16)
            *convolution(32, 32, 3),
            *convolution(32, 64, 4, stride=2),  # (N, 64, 8, 8)
            *convolution(64, 64, 3),
            *convolution(64, 128, 4, stride=2),  # (N, 128, 4, 4)
            *convolution(128, 128, 3),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),  # (N, 128)
        )
        self.head = nn.Linear(128, NUM_CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))
