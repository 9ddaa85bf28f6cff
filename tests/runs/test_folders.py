"""Runs as folders: found again, kept or cleared away, and named in the command that goes on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mnist_gen.errors import UserError
from mnist_gen.runs import folders, layout


@pytest.fixture(autouse=True)
def closed():
    """No folder is open before or after a test."""
    yield
    folders.close_folder()


def made(root: Path, name: str, age: int, record: str | None = None, checkpoints=("last",)) -> Path:
    """A run's folder, so many seconds old."""
    folder = root / "outputs" / name
    (folder / "checkpoints").mkdir(parents=True)
    for checkpoint in checkpoints:
        path = folder / f"checkpoints/{checkpoint}.ckpt"
        path.touch()
        os.utime(path, (2_000_000_000 - age,) * 2)
    if record is not None:
        (folder / "metrics.json").write_text(record)
    return folder


def test_last_is_the_newest_unfinished_run_of_the_experiment(tmp_path, capsys):
    done = json.dumps({"metrics": {"test/fid": 1.0}, "seconds": {}, "config": {"seed": 0}})
    made(tmp_path, "gan/1", age=10)
    newest = made(tmp_path, "gan/2", age=5)
    complete = made(tmp_path, "gan/3", age=1, record=done, checkpoints=("last", "best"))
    other = made(tmp_path, "student_report/gan/1", age=2)
    made(tmp_path, "sweeps/gan_seed/seed-1", age=0)
    made(tmp_path, "pretrained/gan-1234", age=0)
    assert layout.find_checkpoint(tmp_path, "fit", "last", "gan") == newest / "checkpoints/last.ckpt"
    assert capsys.readouterr().out == f"ckpt=last: {newest}\n"
    assert layout.find_checkpoint(tmp_path, "fit", "last", None) == other / "checkpoints/last.ckpt"
    assert layout.find_checkpoint(tmp_path, "sample", "last", "gan") == complete / "checkpoints/best.ckpt"
    with pytest.raises(UserError, match="ckpt=last: there is no unfinished run of experiment=cgan in"):
        layout.find_checkpoint(tmp_path, "fit", "last", "cgan")


def test_a_runs_folder_is_as_good_as_its_checkpoint(tmp_path):
    folder = made(tmp_path, "gan/1", age=0, checkpoints=("last", "best"))
    assert layout.find_checkpoint(tmp_path, "fit", str(folder), None) == folder / "checkpoints/last.ckpt"
    assert layout.find_checkpoint(tmp_path, "test", str(folder), None) == folder / "checkpoints/best.ckpt"
    torn = made(tmp_path, "gan/2", age=0, checkpoints=("previous",))  # killed between two renames
    for name in ("", "checkpoints/last.ckpt"):
        assert layout.find_checkpoint(tmp_path, "fit", str(torn / name), None) == torn / "checkpoints/last.ckpt"
    for named in (tmp_path, tmp_path / "nothing", tmp_path / "nothing.ckpt"):
        with pytest.raises(UserError, match=f"ckpt={named}: "):
            layout.find_checkpoint(tmp_path, "fit", str(named), None)


@pytest.mark.parametrize(
    "record",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"metrics": {}}',
        '{"metrics": {}, "config": {}}',
        '{"metrics": {}, "config": []}',
        '{"metrics": 5, "config": {"seed": 0}}',
        '{"metrics": {"a": "b"}, "config": {"seed": 0}}',
        '{"metrics": {}, "seconds": [], "config": {"seed": 0}}',
    ],
)
def test_a_record_that_no_run_wrote_is_ignored_with_a_warning(tmp_path, record, caplog):
    folder = made(tmp_path, "gan/1", age=0, record=record)
    assert layout.read_record(folder) is None
    assert [line.message for line in caplog.records] == [f"{folder}/metrics.json is ignored: no run wrote it."]
    assert layout.find_checkpoint(tmp_path, "fit", "last", "gan").is_file()


def test_a_folder_made_for_nothing_goes(tmp_path):
    folder = tmp_path / "outputs/gan/now"
    made = folders.first_missing(folder)
    assert made == tmp_path / "outputs"
    folders.open_folder(folder, made)
    (folder / ".hydra").mkdir()
    for name in (".hydra/config.yaml", "train.log", "events.out.tfevents.1"):
        (folder / name).touch()
    folders.close_folder()
    assert tmp_path.is_dir()  # it was there before
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("reason", ["used", "not ours", "a file"])
def test_any_other_folder_stays(tmp_path, reason):
    folder = tmp_path / "run"
    folders.open_folder(folder, made=None if reason == "not ours" else folder)
    if reason == "used":
        folders.keep_folder()
    if reason == "a file":
        (folder / "notes.txt").touch()
    folders.close_folder()
    assert folder.is_dir()
    assert not (folder / ".owner").exists()


@pytest.mark.parametrize(
    ("words", "kept", "says"),
    [
        (["experiment=gan", "seed=1"], False, ["experiment=gan", "seed=1"]),
        (["experiment=gan", "data.root=/d", "trainer.max_epochs=2"], True, ["ckpt={run}", "data.root=/d"]),
        (["ckpt=x/best.ckpt", "trainer.max_epochs=2"], True, ["ckpt={run}", "trainer.max_epochs=2"]),
        (["-m", "experiment=gan", "seed=1,2"], True, ["-m", "experiment=gan", "seed=1,2"]),
    ],
)
def test_the_command_that_goes_on(tmp_path, words, kept, says, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", *words])
    folders.open_folder(tmp_path / "run", made=None)
    if kept:
        (tmp_path / "run/checkpoints").mkdir()
        (tmp_path / "run/checkpoints/previous.ckpt").touch()
    expected = " ".join(["python train.py", *says]).format(run=tmp_path / "run")
    assert folders.command_that_goes_on(words) == expected


def test_a_command_can_be_typed_as_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py"])
    folder = tmp_path / "my run"
    folders.open_folder(folder, made=None)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints/last.ckpt").touch()
    assert folders.command_that_goes_on(["experiment=gan"]) == f"""python train.py 'ckpt='"'"'{folder}'"'"''"""


def test_only_failures_of_this_command_count(tmp_path):
    folders.open_folder(tmp_path, made=None)
    old, new = tmp_path / "old/error.txt", tmp_path / "nested/new/error.txt"
    for path in (old, new):
        path.parent.mkdir(parents=True)
    old.touch()
    os.utime(old, (1_000_000_000,) * 2)
    assert not folders.failed_jobs()
    new.touch()
    os.utime(new, (4_000_000_000,) * 2)
    assert folders.failed_jobs() == f"Failed jobs: 1; see {tmp_path}/summary.md."


CHILD = """
import pathlib, signal, sys, time
def stop(*_):
    owner.unlink()
    sys.exit()
owner = pathlib.Path(sys.argv[1])
signal.signal(signal.SIGTERM, stop)
print(flush=True)
time.sleep(60)
"""


def test_stopping_a_sweep_stops_its_own_jobs_only(tmp_path, monkeypatch):
    owners = [tmp_path / name / ".owner" for name in ("job", "nested/job", "killed")]
    for owner in owners:
        owner.parent.mkdir(parents=True)
    options = {"stdout": subprocess.PIPE, "text": True}
    jobs = [subprocess.Popen([sys.executable, "-c", CHILD, str(owner)], **options) for owner in owners[:2]]
    for owner, process in zip(owners, (*(job.pid for job in jobs), os.getppid()), strict=True):  # not of this command
        owner.write_text(json.dumps({"pid": process}))
    for job in jobs:
        job.stdout.readline()  # it listens
    monkeypatch.setattr(folders, "_opened", folders.Opened(tmp_path, None, None))
    folders.stop_jobs()
    assert [owner.exists() for owner in owners] == [False, False, True]
    assert [job.wait(timeout=10) for job in jobs] == [0, 0]
