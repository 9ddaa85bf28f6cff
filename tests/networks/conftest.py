"""A few labelled images, and the size of a network."""

import torch
from torch import nn

IMAGES, LABELS = torch.rand(6, 1, 32, 32), torch.tensor([0, 1, 2, 3, 9, 9])


def count(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)
