"""What `python train.py` prints."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mnist_gen.runs.command_line import check_arguments
from mnist_gen.runs.overview import OPTIONS, SUBJECTS, asked_for, described, overview
from tests.conftest import CONF, EXPERIMENTS, ROOT, train_py


def test_every_experiment_has_one_line_below_its_subject():
    text = overview([Path(CONF)])
    parts = {lines[0]: [line.split("  ") for line in lines[1:]] for lines in map(str.splitlines, text.split("\n\n"))}
    assert max(map(len, text.splitlines())) <= 80
    assert "..." not in text.partition("\n\n")[2]  # nothing is cut off
    assert "Others" not in parts
    listed = {title: [words[1] for words in lines] for title, lines in parts.items() if title in SUBJECTS}
    of_the_report = listed.pop("The student report's own recipes: experiment=student_report/<name>")
    names = [name for some in listed.values() for name in some] + [f"student_report/{name}" for name in of_the_report]
    assert sorted(names) == EXPERIMENTS
    assert listed["Conditional GANs"] == [name for name in EXPERIMENTS if name.startswith("cgan_")]


def test_every_listed_option_is_accepted():
    for option in OPTIONS:
        words = option.replace("<folder>", CONF).replace("trainer=gpu", "trainer=cpu").split()
        check_arguments(CONF, ["experiment=cgan_embed20", *words])


def test_user_experiments_are_listed(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text("# @package _global_\n# Mine.\n# python train.py experiment=mine\n")
    (tmp_path / "experiment/bare.yaml").write_text("seed: 1\n")
    (tmp_path / "experiment/odd.yaml").write_text("#\nseed: 1\n#   Odd. \n")
    assert described([tmp_path]) == {"mine": "Mine.", "bare": "", "odd": "Odd."}
    assert "Others\n  bare  \n  mine  Mine.\n  odd   Odd." in overview([Path(CONF), tmp_path])


@pytest.mark.parametrize(
    ("words", "folders"),
    [
        ([], []),
        (["-h"], []),
        (["--config-dir", "mine"], [Path("mine")]),
        (["--help", "--config-dir=mine"], [Path("mine")]),
        (["experiment=gan", "--help"], None),
        (["--config-dir"], None),
        (["-c", "job"], None),
        (["--hydra-help"], None),
    ],
)
def test_only_a_command_without_work_is_answered_with_the_overview(words, folders):
    assert asked_for(words) == folders


def test_the_command_alone_lists_what_it_can_do(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(ROOT / "train.py")])
    done = train_py(cwd=tmp_path)
    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []
    assert done.stdout == overview([Path(CONF)]) + "\n"
    assert done.stderr == ""


def test_completion_is_installed_by_one_command():
    done = train_py("-sc", "install=bash")
    assert done.returncode == 0
    assert "complete -o nospace" in done.stdout


def test_completion_knows_the_experiments():
    line = "python train.py experiment=cgan_e"
    asked = {"COMP_LINE": line, "COMP_POINT": str(len(line))}
    command = [sys.executable, str(ROOT / "train.py"), "-sc", "query=bash"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | asked)
    names = ("cgan_embed20", "cgan_embed20_after", "cgan_embed65")
    assert done.stdout.split() == [f"experiment={name}" for name in names]
