"""Learning-rate schedules, weight averaging, steps of networks that take turns, and the check for finite losses."""

import math
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from mnist_gen.errors import UserError
from mnist_gen.training.processes import average

MOST_UNSEEN = 50  # batches of which the losses wait on a GPU
REMEDY = "Lower the learning rate; a GAN may also need a larger model.r1 and model.r2."


def warm_up_and_decay(optimizer: Optimizer, batches: int | float, warmup: int, decay_from: float) -> LambdaLR:
    """A schedule over a run's batches: a linear warm-up, then the optimizer's rates, then a linear decay to 0.

    `warmup` counts batches; `decay_from` is the share of the run at which the decay begins, 1 for no decay.
    """

    def factor(batch: int) -> float:
        falling = (1 - batch / batches) / (1 - decay_from) if decay_from < 1 else 1.0
        return max(0.0, min(1.0, (batch + 1) / (warmup + 1), falling))

    return LambdaLR(optimizer, factor)


def with_schedule(
    module: L.LightningModule, optimizer: Optimizer, warmup: int, decay_from: float
) -> OptimizerLRSchedulerConfig:
    """An optimizer with `warm_up_and_decay`, stepped per batch, as Lightning takes them."""
    schedule = warm_up_and_decay(optimizer, module.trainer.estimated_stepping_batches, warmup, decay_from)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def set_rates(module: L.LightningModule) -> None:
    """Sets the coming batch's learning rates, as Lightning does for a model with one optimizer."""
    schedules = module.lr_schedulers()
    for schedule in schedules if isinstance(schedules, list) else [schedules]:
        assert isinstance(schedule, LambdaLR)
        if module.global_step:  # a schedule starts with the first batch's rate
            schedule.step()


@torch.no_grad()
def update_average(averaged: nn.Module, network: nn.Module, decay: float, batches: int | Tensor) -> None:
    """Updates an exponential moving average of a network's weights and buffers, after so many batches.

    The first updates use a smaller decay, so that the average forgets the initial weights. Under several processes, the
    network's buffers, such as batch statistics, become their means first.
    """
    average([buffer for buffer in network.buffers() if buffer.is_floating_point()])
    ramp = (1 + batches) / (10 + batches)
    share = 1 - (ramp.clamp(max=decay) if isinstance(ramp, Tensor) else min(ramp, decay))
    kept, present = ([*each.parameters(), *each.buffers()] for each in (averaged, network))
    weights = [(old, new) for old, new in zip(kept, present, strict=True) if new.is_floating_point()]
    olds, news = map(list, zip(*weights, strict=True))
    changes = torch._foreach_sub(news, olds)
    torch._foreach_mul_(changes, share)
    torch._foreach_add_(olds, changes)
    for old, new in zip(averaged.buffers(), network.buffers(), strict=True):
        if not new.is_floating_point():
            old.copy_(new)


def descend(module: L.LightningModule, optimizer: Optimizer, loss: Tensor) -> None:
    """One optimizer step in an adversarial game, by the mean gradients of all processes.

    Only the optimizer's own weights get gradients.
    """
    optimizer.zero_grad()
    weights = [weight for group in optimizer.param_groups for weight in group["params"] if weight.requires_grad]
    module.manual_backward(loss, inputs=weights)
    average([weight.grad for weight in weights if weight.grad is not None])
    optimizer.step()
    torch.clear_autocast_cache()  # it would keep the old weights until the end of the training step


class CheckLosses(Callback):
    """Stops a run whose loss becomes infinite or NaN, before a checkpoint holds the weights that this broke.

    To look at a loss makes a GPU wait. There, the losses of many batches are looked at together, and always before a
    checkpoint is written.
    """

    def __init__(self) -> None:
        self._unseen: list[tuple[str, Tensor]] = []  # when, and the losses (L,) of each batch
        self._names: list[str] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any) -> None:
        when = f"epoch {trainer.current_epoch + 1}, step {trainer.fit_loop.epoch_loop.total_batch_idx}"
        self._names = [*outputs]
        self._unseen.append((when, torch.stack([value.detach() for value in outputs.values()])))
        if pl_module.device.type == "cpu" or len(self._unseen) == MOST_UNSEEN:
            self._look()

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self._look()

    def _look(self) -> None:
        unseen, self._unseen = self._unseen, []
        if not unseen:
            return
        losses = torch.stack([values for _, values in unseen]).cpu()  # (batches, L)
        for (when, _), values in zip(unseen, losses, strict=True):
            for name, value in zip(self._names, values.tolist(), strict=True):
                if not math.isfinite(value):
                    raise UserError(f"{name} became {value} at {when}: training stopped. {REMEDY}")
