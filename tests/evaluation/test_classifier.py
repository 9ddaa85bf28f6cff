"""The classifier's schedule."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch

from mnist_gen.evaluation.classifier import Classifier
from mnist_gen.networks.classifiers import Scorer


@pytest.mark.parametrize("steps", [1, 2, 5, 6, 100])
def test_a_run_of_any_length_has_a_schedule(steps):
    model = Classifier(Scorer(), partial(torch.optim.Adam, lr=0.1), augment=0.0)
    model._trainer = SimpleNamespace(estimated_stepping_batches=steps)
    scheduled = model.configure_optimizers()
    optimizer, schedule = scheduled["optimizer"], scheduled["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(rates) < steps:
            schedule.step()
    assert 0 < min(rates) <= max(rates) <= 0.1 + 1e-9
