"""A step of a GAN on two processes equals one on their joint batch."""

import copy
from functools import partial

import pytest
import torch
from torch import distributed, multiprocessing, nn

from tests.gan.conftest import Step, gan

IMAGES, LABELS = torch.rand(8, 1, 32, 32), torch.arange(8)


def steps(part: slice, monkeypatch: pytest.MonkeyPatch) -> tuple[dict, dict]:
    """Losses of the second step on a part of the joint batch, and the weights after it."""
    model = gan()
    model.generator_optimizer = model.discriminator_optimizer = partial(
        torch.optim.SGD, lr=0.1
    )  # Adam divides rounding
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)):
        norm.eval()  # otherwise each process normalises by the statistics of its own part
    step = Step(model, monkeypatch)
    torch.manual_seed(1)
    for _ in range(2):
        losses = model.training_step((IMAGES[part], LABELS[part]), 0)
    assert step.moved()
    return losses, copy.deepcopy(model.state_dict())


def work(process: int, folder: str) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=process, world_size=2)
    with pytest.MonkeyPatch.context() as patch:
        torch.save(steps(slice(process, None, 2), patch), f"{folder}/{process}.pt")
    distributed.destroy_process_group()


def test_two_processes_equal_one_on_the_joint_batch(tmp_path, monkeypatch):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=work, args=(process, str(tmp_path))) for process in range(2)]
    for worker in workers:
        worker.start()
    losses, weights = steps(slice(None), monkeypatch)
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    for process in range(2):
        theirs = torch.load(tmp_path / f"{process}.pt")
        torch.testing.assert_close(theirs[0], losses)
        torch.testing.assert_close(theirs[1], weights)
