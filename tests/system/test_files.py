"""Atomic file writes, and folders that only one process writes into."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mnist_gen.errors import UserError
from mnist_gen.system import files
from tests.conftest import ROOT


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_a_file_is_replaced_and_its_previous_version_kept(tmp_path):
    path, previous = tmp_path / "new/last", tmp_path / "new/previous"
    for content in ("one", "two", "three"):
        files.write(path, content, keep=previous)
    assert (path.read_text(), previous.read_text()) == ("three", "two")
    assert names(tmp_path) == {"last", "previous"}


def test_a_full_disk_keeps_old_files_and_warns_once(tmp_path, full_disk, caplog):
    path = tmp_path / "last"
    files.write(path, "good")
    full_disk(True)
    for content in ("later", "latest"):
        files.write(path, content, keep=tmp_path / "previous")
    files.write(tmp_path / "other", "else")
    assert names(tmp_path) == {"last"}
    assert path.read_text() == "good"
    assert [record.message for record in caplog.records] == [
        f"{path}: the disk is full. Unwritten files stay in memory; free some space."
    ]
    with pytest.raises(OSError, match="No space left"):
        files.settle()
    full_disk(False)
    files.write(tmp_path / "third", "3")
    assert {path.read_text() for path in tmp_path.iterdir()} == {"latest", "else", "3", "good"}


def test_other_write_errors_are_raised_and_leave_no_files(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(IsADirectoryError):
        files.write(tmp_path / "folder", "content")
    with pytest.raises(FileExistsError):
        files.write(tmp_path / "file/inside", "content")
    assert names(tmp_path) == {"file"}
    files.settle()  # nothing is pending


def test_the_lock_names_a_running_process_and_ignores_a_killed_one(tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r})\n"
        "from pathlib import Path; from mnist_gen.system.files import FolderLock\n"
        f"lock = FolderLock(Path({str(tmp_path)!r})); print('in', flush=True); sys.stdin.read()"
    )
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], **options) as other:
        assert other.stdout.readline() == "in\n"
        with pytest.raises(
            UserError, match=f"{tmp_path}: process {other.pid} on .* is writing there; wait for it, or stop"
        ):
            files.FolderLock(tmp_path)
        (tmp_path / f".last.ckpt.{other.pid}{files.PART}").touch()
        (tmp_path / "figures").mkdir()
        (tmp_path / f"figures/.grid.png.1{files.PART}").touch()
        others = [tmp_path / ".mine.part", tmp_path / f"deeper/.last.ckpt.1{files.PART}"]
        for path in others:
            path.parent.mkdir(exist_ok=True)
            path.touch()
        other.kill()
    lock = files.FolderLock(tmp_path)
    assert json.loads((tmp_path / ".owner").read_text())["pid"] == os.getpid()
    assert sorted(tmp_path.rglob("*.part")) == sorted(others)  # a run does not write these here
    lock.release()
    files.FolderLock(tmp_path).release()


def test_the_lock_can_wait_for_another_process(tmp_path):
    code = (
        f"import sys, time; sys.path.insert(0, {str(ROOT / 'src')!r})\n"
        "from pathlib import Path; from mnist_gen.system.files import FolderLock\n"
        f"lock = FolderLock(Path({str(tmp_path)!r})); print('in', flush=True); time.sleep(0.5)\n"
        f"(Path({str(tmp_path)!r}) / 'result').touch(); lock.release()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "in\n"
        assert not (tmp_path / "result").exists()
        files.FolderLock(tmp_path, wait=True).release()
        assert (tmp_path / "result").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_broken_json_file_reads_as_none(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    assert files.read_json(tmp_path / "file") is None
    assert files.read_json(tmp_path) is None
    assert files.read_json(tmp_path / "none") is None
