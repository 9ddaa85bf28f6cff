"""Cross-entropy and accuracy: per image, and as curves over the epochs."""

from collections.abc import Mapping

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor

History = dict[str, list[list[float]]]  # a row per epoch, a column per draw of labels


def losses_and_hits(logits: Tensor, labels: Tensor) -> Tensor:
    """(2, N): the cross-entropy of logits (N, 10), and 1 where the prediction equals the label (N,), else 0."""
    losses = F.cross_entropy(logits, labels, reduction="none")
    return torch.stack([losses, (logits.argmax(dim=1) == labels).float()])


def log_epoch(module: L.LightningModule, history: History, groups: Mapping[str, Tensor]) -> None:
    """Adds the loss and accuracy (D, 2) of each group of images to the history, and logs their means over the draws."""
    for group, values in groups.items():
        for name, column in zip(("loss", "accuracy"), values.T, strict=True):
            history.setdefault(f"{group}/{name}", []).append(column.tolist())
            module.log(f"{group}/{name}", column.mean(), logger=False)
