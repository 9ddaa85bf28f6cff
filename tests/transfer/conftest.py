"""Tiny transfer runs and classifiers."""

from functools import partial

import torch

from mnist_gen.networks.encoders import Encoder
from mnist_gen.networks.heads import LinearHead
from mnist_gen.transfer.semi import SemiSupervised

TINY_RUN = (
    "data.labels=20", "data.labels_seed=0", "data.batch_size=12", "data.folds=2", "data.watched=30",
    "data.eval_batch_size=50", "trainer.max_epochs=3", "model.views=2", "callbacks.metrics.reported=null",
    "pretrained=autoencoder",
    "pretrained.overrides=['trainer.max_epochs=1','trainer.limit_train_batches=2','data.batch_size=8']",
)  # fmt: skip
SEMI_RUN = (
    "data.labels=20", "data.labels_seed=0", "data.batch_size=60", "data.watched=30", "data.eval_batch_size=50",
    "trainer.max_epochs=3", "model.every=2", "model.neighbours=3", "pretrained=autoencoder",
    "pretrained.overrides=['trainer.max_epochs=1','trainer.limit_train_batches=2','data.batch_size=8']",
)  # fmt: skip


def semi(**options) -> SemiSupervised:
    settings = {"latent_dim": 64, "encoder": Encoder, "head": LinearHead, "neighbours": 3, "alpha": 0.99, "every": 1}
    settings |= {"augment": 0.0, "noise": 0.0, "optimizer": partial(torch.optim.SGD, lr=0.1), "warmup": 0}
    return SemiSupervised(**{**settings, "ema_decay": 0.9, **options})
