import logging

import pytest

from mnist_gen.errors import UserError
from tests.conftest import TINY


def test_a_run_stops_early_and_says_so(fit, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    words = ["callbacks/extra=early_stopping", "callbacks.early_stopping.patience=1", "trainer.max_epochs=9"]
    slow = [word for word in TINY if not word.startswith("trainer.max_epochs")]
    fit(tmp_path, "experiment=cgan_embed20", *slow, *words, "+callbacks.early_stopping.min_delta=1e9", tiny=False)
    assert "stopped   after 1 validations without a better val/fid" in [
        record.getMessage() for record in caplog.records
    ]
    assert "stopped" not in (tmp_path / "metrics.json").read_text()
    assert not list(tmp_path.glob("figures/grid_epoch_00[3-9].png"))


def test_an_unknown_metric_is_refused_before_training(fit, tmp_path):
    words = ["callbacks/extra=early_stopping", "callbacks.early_stopping.monitor=val/nothing"]
    with pytest.raises(UserError, match="callbacks.early_stopping.monitor=val/nothing: choose one of val/fid"):
        fit(tmp_path, "experiment=cgan_embed20", *words)
