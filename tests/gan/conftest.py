"""A tiny GAN and one of its training steps."""

import copy

import torch
from hydra.utils import instantiate

from mnist_gen.gan import GAN
from tests.conftest import TINY, composed

TINY_MODEL = [word for word in TINY if word.startswith("model.")]


def gan(*overrides, experiment="cgan_embed20") -> GAN:
    torch.manual_seed(0)
    return instantiate(composed(f"experiment={experiment}", *TINY_MODEL, *overrides).model)


class Step:
    """One training step outside a trainer, with the weights before it."""

    def __init__(self, model: GAN, monkeypatch) -> None:
        optimizers = [
            model.generator_optimizer(model.generator.parameters()),
            model.discriminator_optimizer(model.discriminator.parameters()),
        ]
        monkeypatch.setattr(model, "optimizers", lambda: optimizers)
        monkeypatch.setattr(model, "lr_schedulers", list)
        monkeypatch.setattr(model, "manual_backward", lambda loss, **options: loss.backward(**options))
        monkeypatch.setattr(GAN, "current_epoch", 0)
        monkeypatch.setattr(GAN, "global_step", 0)
        self.model, self.before = model, copy.deepcopy(model.state_dict())

    def __call__(self, images=None, digits_or_positions=None):
        images = torch.rand(8, 1, 32, 32) if images is None else images
        digits_or_positions = torch.arange(8) if digits_or_positions is None else digits_or_positions
        return self.model.training_step((images, digits_or_positions), 0)

    def moved(self) -> set[str]:
        after = self.model.state_dict()
        return {name for name, value in self.before.items() if not torch.equal(value, after[name])}
