"""Classes of the user's own as model and data, without a base class of ours."""

import pytest

from tests.conftest import error_line, recorded

EXPERIMENT = """# @package _global_
# My own.
defaults:
  - override /model: null
  - override /data: null
  - override /callbacks: classifier

model:
  _target_: own_classes.OwnModel
  hidden: [8, 8]
  alpha: 1.0
data:
  _target_: own_classes.OwnData
  scorer: 32
callbacks:
  best:
    monitor: val/right
  progress:
    metric: val/right
trainer:
  max_epochs: 2
"""


@pytest.mark.slow
def test_they_train_and_their_checkpoints_load_again(tmp_path, command):
    (tmp_path / "conf/experiment").mkdir(parents=True)
    (tmp_path / "conf/experiment/own.yaml").write_text(EXPERIMENT)
    run = f"hydra.run.dir={tmp_path}/run"
    done = command("--config-dir", f"{tmp_path}/conf", "experiment=own", run, "model.alpha=2.0")
    assert done.returncode == 0, done.stderr
    record = recorded(tmp_path / "run")
    assert 0 <= record["metrics"]["test/right"] <= 1
    assert record["config"]["model"]["hidden"] == [8, 8]
    refused = error_line(command("task=test", f"ckpt={tmp_path}/run"))
    assert refused.endswith("which is not ours; if you trust it, add trust=[own_classes].")
    tested = command("task=test", f"ckpt={tmp_path}/run", "trust=[own_classes]", f"hydra.run.dir={tmp_path}/again")
    assert tested.returncode == 0, tested.stderr
    again = recorded(tmp_path / "again")
    assert again["metrics"]["test/right"] == record["metrics"]["test/right"]
    (tmp_path / "run/metrics.json").unlink()
    resumed = command(f"ckpt={tmp_path}/run", "trust=[own_classes]", "trainer.max_epochs=3")
    assert resumed.returncode == 0, resumed.stderr
    assert "epoch 3/3" in resumed.stdout
