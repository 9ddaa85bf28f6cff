"""Plain training loops: of the project's own step, and of the same GAN as most people would write it."""

import time
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from mnist_gen.data.mnist import ImageData
from mnist_gen.gan import GAN
from mnist_gen.networks.input_gradients import by_autograd
from mnist_gen.training.capture import replay_on
from mnist_gen.training.optimization import warm_up_and_decay
from mnist_gen.training.trainer import precision_of
from tests.conftest import composed

WARM = 5  # batches before those that are timed
BATCHES = 10_000  # of the planned run: the schedules need a length


class BareLoop:
    """The main experiment's training step without Lightning's loop, hooks and callbacks; a GPU replays it.

    It has the run's precision: bf16 where the processor computes it.
    """

    def __init__(self, *words: str, device: str = "cpu") -> None:
        torch.manual_seed(0)
        if device == "cuda":  # as runs set them
            torch.backends.cudnn.benchmark = True
            torch.set_float32_matmul_precision("high")
        cfg = composed("experiment=cgan_embed20", *words)
        self.data: ImageData = instantiate(cfg.data)
        self.data.prepare_data()
        self.data.setup()
        self.data.train = self.data.train.to(torch.device(device))
        self.model: GAN = instantiate(cfg.model).to(device)
        self.batch_size = self.data.batch_size
        self.optimizers = [
            self.model.generator_optimizer(self.model.generator.parameters()),
            self.model.discriminator_optimizer(self.model.discriminator.parameters()),
        ]
        self.schedules = [
            warm_up_and_decay(o, BATCHES, self.model.warmup, self.model.decay_from) for o in self.optimizers
        ]
        stand_ins: dict[str, Any] = {  # for what Lightning's trainer does
            "optimizers": lambda: self.optimizers,
            "manual_backward": lambda loss, **options: loss.backward(**options),
        }
        for name, stand_in in stand_ins.items():
            setattr(self.model, name, stand_in)
        bf16 = precision_of(cfg.trainer.precision, on_cpu=device == "cpu") == "bf16-mixed"
        self.precision = torch.autocast(device, torch.bfloat16, enabled=bf16, cache_enabled=False)  # as Lightning's
        self.replay = replay_on(self.model.device, self.optimizers)
        self.batches = cycle(self.data.train_dataloader())

    def step(self) -> None:
        """Trains on one batch."""
        batch = self.data.on_after_batch_transfer(next(self.batches), 0)
        self.replay(lambda: self._train(batch), batch)
        for schedule in self.schedules:
            schedule.step()

    def _train(self, batch: tuple[Tensor, Tensor]) -> None:
        with self.precision:
            self.model.training_step(batch, 0)


class NaiveLoop:
    """The same GAN and recipe in a usual script.

    A DataLoader decodes PIL images, memory is contiguous, both networks get their own samples, penalties run through a
    double backward pass, and each loss is read after each step.
    """

    def __init__(self, *words: str) -> None:
        loop = BareLoop(*words)
        self.model, self.batch_size = loop.model.to(memory_format=torch.contiguous_format), loop.batch_size
        steps = [transforms.Pad(2), transforms.ToTensor(), transforms.Normalize(0.5, 0.5)]
        images = datasets.MNIST(str(loop.data.cache), transform=transforms.Compose(steps))
        loader = DataLoader(images, self.batch_size, shuffle=True, drop_last=True)
        self.batches: Iterator[tuple[Tensor, Tensor]] = cycle(loader)
        self.optimizers = loop.optimizers

    def step(self) -> None:
        """Trains on one batch."""
        model, (of_generator, of_discriminator) = self.model, self.optimizers
        images, labels = next(self.batches)
        with torch.no_grad():
            fake = model.generator(torch.randn(len(images), model.latent_dim), labels)
        real_scores, at_real = by_autograd(model.discriminator, images, labels, len(images))
        fake_scores, at_fake = by_autograd(model.discriminator, fake, labels, len(images))
        norms = (gradients.flatten(1).square().sum(dim=1).mean() for gradients in (at_real, at_fake))
        penalty = sum(weight / 2 * norm for weight, norm in zip((model.r1, model.r2), norms, strict=True))
        few = -(-len(images) // 4)
        wrong = (labels[:few] + torch.randint(1, 10, (few,))) % 10
        mismatch = F.softplus(model.discriminator(images[:few], wrong) - real_scores[:few]).mean()
        loss = F.softplus(fake_scores - real_scores).mean() + penalty + model.mismatch * mismatch
        self._descend(of_discriminator, loss)
        fake = model.generator(torch.randn(len(images), model.latent_dim), labels)
        difference = model.discriminator(images, labels) - model.discriminator(fake, labels)
        self._descend(of_generator, F.softplus(difference).mean())
        with torch.no_grad():
            averaged: Any = model.averaged
            for kept, weight in zip(averaged.parameters(), model.generator.parameters(), strict=True):
                kept.lerp_(weight, 1 - model.ema_decay)

    def _descend(self, optimizer: Any, loss: Tensor) -> None:
        self.model.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()


def images_per_second(loop: BareLoop | NaiveLoop, images: int) -> float:
    """The speed over about so many images, after a few steps to warm up."""
    for _ in range(WARM):
        loop.step()
    steps = max(1, images // loop.batch_size)
    wait_for(loop.model)
    start = time.perf_counter()
    for _ in range(steps):
        loop.step()
    wait_for(loop.model)
    return steps * loop.batch_size / (time.perf_counter() - start)


def wait_for(model: L.LightningModule) -> None:
    """Waits until a model's GPU is done."""
    if model.device.type == "cuda":
        torch.cuda.synchronize()
