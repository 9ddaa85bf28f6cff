"""The real command."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT, TINY, error_line, train_py

QUICK = [*TINY, "trainer.max_epochs=1", "data.train_images=1000"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tiny run of the main experiment, started from another working directory."""
    place = tmp_path_factory.mktemp("elsewhere")
    done = train_py("experiment=cgan_embed20", *QUICK, f"hydra.run.dir={place}/run", cwd=place)
    assert done.returncode == 0, done.stderr
    return place / "run", done


def test_run_prints_a_table_and_the_paths(run):
    folder, done = run
    assert done.stderr == ""
    assert "\r" not in done.stdout
    said = [line.split() for line in done.stdout.splitlines()]
    assert [words[0] for words in said[:5]] == ["run", "device", "networks", "images", "training"]
    assert [words[:3] for words in said if words[:1] == ["epoch"]] == [["epoch", "1/1", "loss_d"]]
    assert (folder / "train.log").read_text().count(" INFO    epoch 1/1  loss_d ") == 1
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.strip()}
    assert rows["metric"] == ["value", "real", "data"]
    for name in ("class_accuracy", "worst_class", "fid", "coverage", "memorised"):
        value, floor = map(float, rows[name])
        assert value >= 0
        assert floor >= 0
    assert done.stdout.endswith("\nrun\n  figures  metrics.json  checkpoints/best.ckpt\n  tensorboard --logdir .\n")
    assert (folder / ".hydra/config.yaml").exists()


def test_sample_writes_only_what_was_asked(run, command, tmp_path):
    folder, _ = run
    before = set(ROOT.glob("outputs/*/*"))
    done = command("task=sample", f"ckpt={folder}/checkpoints/best.ckpt", "digit=3", "out=threes.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["threes.png"]
    assert set(ROOT.glob("outputs/*/*")) == before


def test_going_on_keeps_the_runs_own_files(run, command, tmp_path):
    folder = tmp_path / "moved"
    shutil.copytree(run[0], folder)
    before = (folder / ".hydra/config.yaml").read_bytes()
    done = command(f"ckpt={folder}")
    assert done.returncode == 0, done.stderr
    assert (folder / ".hydra/config.yaml").read_bytes() == before
    assert str(folder) in done.stdout


def test_a_quiet_run_shows_its_results_only(run, command, tmp_path):
    folder = tmp_path / "moved"
    shutil.copytree(run[0], folder)
    (folder / "metrics.json").unlink()
    done = command(f"ckpt={folder}", "quiet=true")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line and not line.startswith("warning: ")]
    assert lines[0] == ["metric", "value", "real", "data"]
    assert lines[-1][:2] == ["tensorboard", "--logdir"]
    assert not {"run", "epoch", "test:"} & {words[0] for words in lines}


def test_an_impossible_sample_is_one_line(run, tmp_path):
    folder, _ = run
    done = train_py("task=sample", f"ckpt={folder}/checkpoints/best.ckpt", "digit=12", cwd=tmp_path)
    assert error_line(done).startswith("error: digit=12: must be a whole number from 0 to 9, or a list of")


def test_ctrl_c_prints_the_command_that_goes_on(tmp_path):
    words = [*TINY, "trainer.max_epochs=1000", "trainer.check_val_every_n_epoch=1000", f"hydra.run.dir={tmp_path}/run"]
    command = [sys.executable, str(ROOT / "train.py"), "experiment=cgan_embed20", *words]
    listening = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}  # whatever pytest's parent ignores
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **listening) as process:
        while not (tmp_path / "run/checkpoints/last.ckpt").exists():
            assert process.poll() is None
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=300)
    assert process.returncode == 130
    assert said.strip().splitlines()[-1] == f"Interrupted. Go on: python {ROOT / 'train.py'} ckpt={tmp_path}/run"


def test_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    line = error_line(train_py("experiment=gan", f"hydra.run.dir={tmp_path}/file/run"))
    assert line.startswith("error: ")
    assert f"{tmp_path}/file/run" in line
    assert "hydra.run.dir=<folder>" in line


def test_a_refused_command_leaves_no_folder(command, tmp_path):
    """What only a job can find out: until then there is one."""
    line = error_line(command("experiment=gan_plain", "+trainer.num_nodes=2", f"hydra.run.dir={tmp_path}/new/run"))
    assert line == "error: trainer.num_nodes=2: does not work with GAN; a run has one machine."
    assert not list(tmp_path.iterdir())


def test_the_whole_traceback_is_there_for_those_who_ask(tmp_path):
    command = [sys.executable, str(ROOT / "train.py"), "experiment=gan", "model.r1=-5"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"HYDRA_FULL_ERROR": "1"})
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.strip().endswith("model.r1=-5: must be a number from 0 to 1000000.")
