"""What the README and the other documents tell people to type is accepted, and what they name exists."""

import re
import shlex

import pytest

from mnist_gen.errors import UserError
from mnist_gen.runs.command_line import check_arguments
from mnist_gen.runs.limits import RANGES
from mnist_gen.system import devices
from tests.conftest import CONF, EXPERIMENTS, ROOT

README = (ROOT / "README.md").read_text()
DOCS = {path: path.read_text() for path in (*sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md")}
NEW = (
    "least_squares",
    "generator=mlp",
    "noise.npz",
    "cgan_hinge",
    "rotation",
    "experiment=mine",
)  # what docs/extend.md makes first
COMMANDS = dict.fromkeys(
    command
    for text in (README, *DOCS.values())
    for command in re.findall(
        r"^(?:python|.*\.venv/bin/python) (train\.py \w.*|train\.py -.*)$", text, flags=re.MULTILINE
    )
    if not any(word in command for word in NEW)
)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_accepted(command, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "gpus", lambda: 1)
    run = tmp_path / "outputs/cgan_embed20/now"
    (run / "checkpoints").mkdir(parents=True)
    for name in ("best", "last"):
        (run / f"checkpoints/{name}.ckpt").touch()
    words = shlex.split(command.replace("<run>", str(run)), comments=True)[1:]
    try:
        check_arguments(CONF, [*words, f"root={tmp_path}"] if "ckpt=last" in words else words)
    except UserError as error:
        if "is not installed: python -m pip install" not in str(error):
            raise
        pytest.skip(str(error))


def test_there_are_commands():
    assert len(COMMANDS) >= 9


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_in_the_results(name):
    assert f"| `{name}` |" in DOCS[ROOT / "docs/results.md"]


def test_every_choice_is_in_the_options():
    text = DOCS[ROOT / "docs/options.md"]
    for path in (ROOT / "conf").rglob("*.yaml"):
        group = path.parent.relative_to(ROOT / "conf").parts
        if group and group[0] not in ("experiment", "pretrained") and path.stem != "common":
            assert f"`{path.stem}`" in text or f"{'/'.join(group)}={path.stem}`" in text, path


@pytest.mark.parametrize("part", ["data", "model", "callbacks", "study"])
def test_every_key_is_in_the_options(part):
    rows = [row for row in DOCS[ROOT / "docs/options.md"].splitlines() if row.startswith("|")]
    sizes = {"channels", "decoder_channels", "encoder_channels", "group", "out", "size"}  # one row stands for all
    by_group = {"dataset", "other"}  # set by the choice of `data`
    for name in (name for name in RANGES if name.startswith(f"{part}.") and "*" not in name):
        prefix, _, key = name.rpartition(".")
        about = [row for row in rows if f"`{prefix}" in row or f"`{prefix.replace('.', '/')}`" in row]
        assert key in sizes | by_group or any(re.search(rf"[`./]{key}`", row) for row in about), name


def test_named_files_exist():
    for path in re.findall(r"\]\(([\w/]+\.\w+)\)", README):
        assert (ROOT / path).is_file()
    house = README.partition("## Project layout")[2].split("```")[1]
    places = re.findall(r"(?:^    |  )(\w+(?:\.py|/))(?= |$)", house, flags=re.MULTILINE)
    assert {*places} >= {
        path.name + "/" for path in (ROOT / "src/mnist_gen").iterdir() if (path / "__init__.py").is_file()
    }
    assert all((ROOT / "src/mnist_gen" / place).exists() for place in places)
    for document, text in DOCS.items():
        for path in re.findall(r"\]\(([\w./]+)\)", text):
            assert (document.parent / path).is_file()
