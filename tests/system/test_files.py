"""Files written whole, and folders that one process at a time writes into."""

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


def test_a_file_is_replaced_whole_and_its_predecessor_kept(tmp_path):
    path, previous = tmp_path / "new/last", tmp_path / "new/previous"
    for content in ("one", "two", "three"):
        files.write(path, content, keep=previous)
    assert (path.read_text(), previous.read_text()) == ("three", "two")
    assert names(tmp_path) == {"last", "previous"}


def test_a_full_disk_keeps_what_was_there_and_is_said_once(tmp_path, full_disk, caplog):
    path = tmp_path / "last"
    files.write(path, "good")
    full_disk(True)
    for content in ("later", "latest"):
        files.write(path, content, keep=tmp_path / "previous")
    files.write(tmp_path / "other", "else")
    assert names(tmp_path) == {"last"}
    assert path.read_text() == "good"
    assert [record.message for record in caplog.records] == [
        f"{path}: the disk is full. What it does not take waits in memory; free some space."
    ]
    with pytest.raises(OSError, match="No space left"):
        files.settle()
    full_disk(False)
    files.write(tmp_path / "third", "3")
    assert {path.read_text() for path in tmp_path.iterdir()} == {"latest", "else", "3", "good"}


def test_what_cannot_be_written_for_another_reason_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(IsADirectoryError):
        files.write(tmp_path / "folder", "content")
    with pytest.raises(FileExistsError):
        files.write(tmp_path / "file/inside", "content")
    assert names(tmp_path) == {"file"}
    files.settle()  # nothing waits


def test_another_process_is_kept_out_and_named_and_a_dead_one_is_not_waited_for(tmp_path):
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r})\n"
        "from pathlib import Path; from mnist_gen.system.files import FolderLock\n"
        f"lock = FolderLock(Path({str(tmp_path)!r})); print('in', flush=True); sys.stdin.read()"
    )
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], **options) as other:
        assert other.stdout.readline() == "in\n"
        with pytest.raises(
            UserError, match=f"{tmp_path}: process {other.pid} on .* writes there; wait for it, or stop"
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
    assert sorted(tmp_path.rglob("*.part")) == sorted(others)  # no run wrote these here
    lock.release()
    files.FolderLock(tmp_path).release()


def test_another_process_is_waited_for_where_both_need_the_same(tmp_path):
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
def test_a_broken_json_file_is_none(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    assert files.read_json(tmp_path / "file") is None
    assert files.read_json(tmp_path) is None
    assert files.read_json(tmp_path / "none") is None
