"""A small autoencoder, and options of a tiny run."""

import torch

from mnist_gen.autoencoder import Autoencoder
from mnist_gen.networks.decoders import Decoder
from mnist_gen.networks.encoders import Encoder

TINY_RUN = ("data.batch_size=8", "data.eval_batch_size=50", "trainer.max_epochs=2", "trainer.limit_train_batches=3")


def autoencoder(**options) -> Autoencoder:
    settings = {"latent_dim": 64, "encoder": Encoder, "decoder": Decoder, "optimizer": torch.optim.Adam}
    settings |= {"warmup": 0, "decay_from": 1.0}
    return Autoencoder(**{**settings, **options})
