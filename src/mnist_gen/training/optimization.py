"""Learning-rate schedules, weight averaging, and the check for finite losses."""

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from mnist_gen.errors import UserError
from mnist_gen.training.processes import average


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


@torch.no_grad()
def update_average(averaged: nn.Module, network: nn.Module, decay: float, batches: int) -> None:
    """Updates an exponential moving average of a network's weights and buffers, after so many batches.

    The first updates use a smaller decay, so that the average forgets the initial weights. Under several processes, the
    network's buffers, such as batch statistics, become their means first.
    """
    average([buffer for buffer in network.buffers() if buffer.is_floating_point()])
    decay = min(decay, (1 + batches) / (10 + batches))
    torch._foreach_lerp_(list(averaged.parameters()), list(network.parameters()), 1 - decay)
    for kept, value in zip(averaged.buffers(), network.buffers(), strict=True):
        kept.copy_(kept.lerp(value, 1 - decay) if value.is_floating_point() else value)


def check_finite(
    loss: Tensor, module: L.LightningModule, batch: int, name: str = "loss", remedy: str = "Lower model.optimizer.lr."
) -> None:
    """Stops training with a `UserError` before an infinite or NaN loss breaks the weights."""
    if not torch.isfinite(loss):
        raise UserError(
            f"The {name} became {loss.item()} at epoch {module.current_epoch + 1}, step {batch}: "
            f"training stopped before it broke the weights. {remedy}"
        )


def descend(module: L.LightningModule, optimizer: Optimizer, loss: Tensor, batch: int, name: str) -> None:
    """One optimizer step in an adversarial game, by the mean gradients of all processes.

    Only the optimizer's own weights get gradients.
    """
    mean = loss.detach().clone()
    average([mean])
    check_finite(mean, module, batch, name, "Lower the learning rate, or raise model.r1 and model.r2.")
    optimizer.zero_grad()
    weights = [weight for group in optimizer.param_groups for weight in group["params"] if weight.requires_grad]
    module.manual_backward(loss, inputs=weights)
    average([weight.grad for weight in weights if weight.grad is not None])
    optimizer.step()
    torch.clear_autocast_cache()  # it would keep the old weights until the end of the training step
