"""Sweeps whose jobs run side by side."""

import csv
from importlib.util import find_spec

import pytest

from tests.conftest import TINY, error_line, train_py

joblib_only = pytest.mark.skipif(
    find_spec("hydra_plugins.hydra_joblib_launcher") is None, reason="needs pip install -e '.[sweep]'"
)
SWEEP = ("-m", "experiment=cgan_embed20", *TINY, "trainer.max_epochs=1", "hydra/launcher=joblib")


@joblib_only
def test_jobs_side_by_side_fail_alone(tmp_path):
    done = train_py(*SWEEP, "callbacks.best.monitor=val/fid,val/ssim", f"hydra.sweep.dir={tmp_path}")
    assert done.returncode == 1
    with (tmp_path / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["complete", "failed"]
    assert rows[1]["error"].startswith("callbacks.best.monitor=val/ssim: choose one of val/fid")
    assert done.stderr.splitlines() == [f"error: {rows[1]['error']}"]  # no bars: they would overwrite each other


@joblib_only
def test_more_jobs_than_memory_are_refused(command, tmp_path):
    line = error_line(command(*SWEEP, "seed=0,1", "hydra.launcher.n_jobs=100000", f"hydra.sweep.dir={tmp_path}"))
    assert line.startswith("error: hydra.launcher.n_jobs=100000: 100000 jobs take 150000 GB of memory, ")
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
