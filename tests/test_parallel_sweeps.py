"""Sweeps whose jobs run side by side."""

import csv
import re
from importlib.util import find_spec

import pytest

from tests.conftest import TINY, error_line, train_py

SWEEP = ("-m", "experiment=cgan_embed20", *TINY, "trainer.max_epochs=1")


def needing(name: str, plugin: str, extra: str):
    missing = find_spec(f"hydra_plugins.{plugin}") is None
    return pytest.param(name, marks=pytest.mark.skipif(missing, reason=f"needs pip install -e '.[{extra}]'"))


JOBLIB = needing("joblib", "hydra_joblib_launcher", "sweep")
SUBMITIT = needing("submitit_local", "hydra_submitit_launcher", "slurm")
RAY = needing("ray", "hydra_ray_launcher", "ray")
OPTUNA = needing("optuna", "hydra_optuna_sweeper", "optuna")


@pytest.mark.slow  # each job is a process of its own, with ten seconds of imports
@pytest.mark.parametrize("launcher", [JOBLIB, SUBMITIT, RAY])
def test_jobs_side_by_side_fail_alone(tmp_path, launcher):
    words = ("callbacks.best.monitor=val/fid,val/ssim", f"hydra/launcher={launcher}", f"hydra.sweep.dir={tmp_path}")
    done = train_py(*SWEEP, *words)
    assert done.returncode == 1
    with (tmp_path / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["complete", "failed"]
    assert rows[1]["error"].startswith("callbacks.best.monitor=val/ssim: choose one of val/fid")
    failures = f"Failed jobs: 1; see {tmp_path}/summary.md."
    assert done.stderr.splitlines()[-1] == failures
    if launcher == "joblib":  # no bars: they would overwrite each other
        assert done.stderr.splitlines() == [f"error: {rows[1]['error']}", failures]


@pytest.mark.slow
@pytest.mark.parametrize("sweeper", [OPTUNA])
def test_a_search_names_its_best_value(tmp_path, sweeper):
    words = ("model.r1=interval(0.1,10)", f"hydra/sweeper={sweeper}", f"hydra.sweep.dir={tmp_path}")
    search = ("hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=1", "hydra.sweeper.sampler.seed=0")
    done = train_py(*SWEEP, *words, *search)
    assert done.returncode == 0
    with (tmp_path / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["complete"] * 3
    tried = {row["model.r1"] for row in rows}
    best = re.search(
        r"^Best val/fid: [\d.]+, with model.r1=([\d.]+)\.$", (tmp_path / "summary.md").read_text(), re.MULTILINE
    )
    assert len(tried) == 3
    assert best is not None
    assert best[1] in tried
    again = train_py(*SWEEP, *words, *search)  # the same values: nothing is trained
    assert (again.returncode, again.stdout.count("is complete: nothing to do")) == (0, 3)


@pytest.mark.parametrize("launcher", [JOBLIB])
def test_more_jobs_than_memory_are_refused(command, tmp_path, launcher):
    words = ("seed=0,1", f"hydra/launcher={launcher}")
    line = error_line(command(*SWEEP, *words, "hydra.launcher.n_jobs=100000", f"hydra.sweep.dir={tmp_path}"))
    assert line.startswith("error: hydra.launcher.n_jobs=100000: 100000 jobs take 150000 GB of memory, ")
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
