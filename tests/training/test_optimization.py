"""Averages, schedules and refusals."""

from types import SimpleNamespace

import lightning as L
import pytest
import torch
from torch import nn

from mnist_gen.errors import UserError
from mnist_gen.training.optimization import MOST_UNSEEN, CheckLosses, descend, update_average, warm_up_and_decay


@pytest.mark.parametrize(("batches", "share"), [(0, 1 - 1 / 10), (10_000, 0.1), (torch.tensor(10_000.0), 0.1)])
def test_average_ramps_up_to_its_decay(batches, share):
    averaged, network = nn.BatchNorm1d(3), nn.BatchNorm1d(3)
    for value in (*averaged.parameters(), *averaged.buffers()):
        value.data.zero_()
    for value in (*network.parameters(), *network.buffers()):
        value.data.fill_(1)
    update_average(averaged, network, decay=0.9, batches=batches)
    for value in (averaged.weight, averaged.running_mean):
        assert value.unique().item() == pytest.approx(share)
    assert averaged.num_batches_tracked == 1  # a count is taken over


def test_rates_rise_stay_and_fall():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = warm_up_and_decay(optimizer, batches=100, warmup=9, decay_from=0.5)
    rates = []
    for _ in range(100):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates[:10] == pytest.approx([0.1 * (batch + 1) for batch in range(10)])
    assert set(rates[9:51]) == {1.0}
    assert rates[75] == pytest.approx(0.5)
    assert rates[99] == pytest.approx(0.02)


def trained(check, device, *losses):
    """Shows the check the losses of batches 7, 8, ... of the third epoch."""
    module = SimpleNamespace(device=torch.device(device))
    for step, loss in enumerate(losses, 7):
        loop = SimpleNamespace(epoch_loop=SimpleNamespace(total_batch_idx=step))
        trainer = SimpleNamespace(current_epoch=2, fit_loop=loop)
        check.on_train_batch_end(trainer, module, {"loss_d": torch.tensor(1.0), "loss_g": torch.tensor(loss)}, None, 0)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_spoilt_losses_are_refused(value):
    with pytest.raises(UserError, match=f"^loss_g became {value} at epoch 3, step 8: training stopped"):
        trained(CheckLosses(), "cpu", 1.0, value, 1.0)


def test_a_gpus_losses_are_looked_at_together_and_before_a_checkpoint():
    check = CheckLosses()
    trained(check, "cuda", 1.0, torch.nan, 1.0)
    with pytest.raises(UserError, match="^loss_g became nan at epoch 3, step 8: training stopped"):
        check.on_save_checkpoint(None, None, {})
    check.on_save_checkpoint(None, None, {})  # nothing is left to look at
    with pytest.raises(UserError, match="^loss_g became nan at epoch 3, step 7: training stopped"):
        trained(check, "cuda", torch.nan, *[1.0] * (MOST_UNSEEN - 1))


def test_a_step_of_the_optimizers_own_weights_alone():
    class Module(L.LightningModule):
        def manual_backward(self, loss, **options):
            loss.backward(**options)

    own, other = nn.Linear(2, 1), nn.Linear(2, 1)
    optimizer = torch.optim.SGD(own.parameters(), lr=0.1)
    before = own.weight.clone()
    loss = (own.weight * other.weight).sum()
    descend(Module(), optimizer, loss)
    assert torch.allclose(own.weight, before - 0.1 * other.weight, atol=1e-6)
    assert other.weight.grad is None
