"""How learning rates and averages move, and when training must stop."""

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from mnist_gen.errors import UserError


def warm_up_and_decay(optimizer: Optimizer, batches: int | float, warmup: int, decay_from: float) -> LambdaLR:
    """A schedule counted in batches: rising over the first `warmup` ones, falling linearly to 0 from a share of all.

    Args:
        optimizer: its learning rates are the highest ones.
        batches: of the whole run.
        warmup: batches over which the rates rise.
        decay_from: share of the run after which they fall; 1 keeps them.
    """

    def factor(batch: int) -> float:
        falling = (1 - batch / batches) / (1 - decay_from) if decay_from < 1 else 1.0
        return max(0.0, min(1.0, (batch + 1) / (warmup + 1), falling))

    return LambdaLR(optimizer, factor)


@torch.no_grad()
def move_average(averaged: nn.Module, network: nn.Module, decay: float, batches: int) -> None:
    """Moves an exponential average of weights and buffers towards the network's.

    Args:
        averaged: a copy of the network, changed in place.
        network: what is averaged over training.
        decay: of the average; it ramps up to it, so that early averages forget the start.
        batches: trained so far.
    """
    decay = min(decay, (1 + batches) / (10 + batches))
    torch._foreach_lerp_(list(averaged.parameters()), list(network.parameters()), 1 - decay)
    for average, value in zip(averaged.buffers(), network.buffers(), strict=True):
        average.copy_(average.lerp(value, 1 - decay) if value.is_floating_point() else value)


def refuse_unless_finite(
    loss: Tensor, module: L.LightningModule, batch: int, name: str = "loss", remedy: str = "Lower model.optimizer.lr."
) -> None:
    """Stops training while the weights and the last checkpoint are still good.

    Raises:
        UserError: the loss is infinite or not a number.
    """
    if not torch.isfinite(loss):
        raise UserError(
            f"The {name} became {loss.item()} at epoch {module.current_epoch + 1}, step {batch}: "
            f"training stopped before it spoilt the weights. {remedy}"
        )


def descend(module: L.LightningModule, optimizer: Optimizer, loss: Tensor, batch: int, name: str) -> None:
    """One step of the optimizer's own weights in an adversarial game, whatever else the loss depends on.

    Raises:
        UserError: the loss is infinite or not a number; the weights are still good.
    """
    refuse_unless_finite(loss, module, batch, name, "Lower the learning rate, or raise model.r1 and model.r2.")
    optimizer.zero_grad()
    weights = [weight for group in optimizer.param_groups for weight in group["params"] if weight.requires_grad]
    module.manual_backward(loss, inputs=weights)
    optimizer.step()
