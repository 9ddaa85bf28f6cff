"""A model and data as a user may write them, with nothing of ours."""

from itertools import pairwise

import lightning as L
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset


class OwnModel(L.LightningModule):
    def __init__(self, hidden: list[int], alpha: float) -> None:  # names that have ranges in our own classes
        super().__init__()
        sizes = pairwise([4, *hidden, 2])
        self.layers = torch.nn.Sequential(*(torch.nn.Linear(*pair) for pair in sizes))
        self.alpha = alpha

    def training_step(self, batch, batch_idx):
        return self.alpha * F.cross_entropy(self.layers(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("val/right", (self.layers(batch[0]).argmax(dim=1) == batch[1]).float().mean())

    def test_step(self, batch, batch_idx):
        self.log("test/right", (self.layers(batch[0]).argmax(dim=1) == batch[1]).float().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class OwnData(L.LightningDataModule):
    def __init__(self, scorer: int) -> None:
        super().__init__()
        inputs = torch.randn(scorer, 4, generator=torch.Generator().manual_seed(0))
        self.items = TensorDataset(inputs, (inputs.sum(dim=1) > 0).long())

    def train_dataloader(self):
        return DataLoader(self.items, batch_size=8)

    val_dataloader = test_dataloader = train_dataloader
