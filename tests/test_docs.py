"""What the README and the other documents tell people to type is accepted, and what they name exists."""

import re
import shlex

import pytest

from mnist_gen.runs.config import check_arguments
from tests.conftest import CONF, EXPERIMENTS, ROOT

README = (ROOT / "README.md").read_text()
DOCS = {path: path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))}
COMMANDS = dict.fromkeys(
    command
    for text in (README, *DOCS.values())
    for command in re.findall(r"^(?:python|.*\.venv/bin/python) (train\.py .*)$", text, flags=re.MULTILINE)
)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_accepted(command, tmp_path):
    run = tmp_path / "outputs/cgan_embed20/now"
    (run / "checkpoints").mkdir(parents=True)
    for name in ("best", "last"):
        (run / f"checkpoints/{name}.ckpt").touch()
    words = shlex.split(command.replace("<run>", str(run)), comments=True)[1:]
    check_arguments(CONF, [*words, f"root={tmp_path}"] if "ckpt=last" in words else words)


def test_there_are_commands():
    assert len(COMMANDS) >= 9


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_in_the_table(name):
    assert f"| `{name}` |" in README


def test_named_files_exist():
    for path in re.findall(r"\]\((docs/[^)]+)\)", README):
        assert (ROOT / path).is_file()
    places = re.findall(r"^    (\w+(?:\.py|/)) ", README.partition("## Find your way")[2], flags=re.MULTILINE)
    assert len(places) >= 15
    assert all((ROOT / "src/mnist_gen" / place).exists() for place in places)
    for document, text in DOCS.items():
        for path in re.findall(r"\]\(([\w./]+)\)", text):
            assert (document.parent / path).is_file()
