"""What `python train.py` and `--help` print: tasks, experiments and options. Imports no torch."""

import re
from argparse import ArgumentError, ArgumentParser
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

COLUMNS = 80
COMMANDS = {
    "experiment=<name> [key=value ...]": "trains and tests a model",
    "-m experiment=<name> key=1,2,3": "a sweep: one run per value",
    "ckpt=<run>": "goes on with an interrupted run",
    "task=test ckpt=<run>": "tests a model again",
    "task=sample ckpt=<run> digit=3 out=3.png": "draws samples of a GAN",
    "task=claims sweep=<folder>": "judges the student report's claims",
    "experiment=<name> --cfg job": "prints all options and values",
}
OPTIONS = {
    "seed=1": "of everything random",
    "model.embedding_dim=5": "size of the label embedding",
    "model.concat=after": "the label joins after the decoder",
    "model.label=onehot": "one-hot labels instead of an embedding",
    "model/loss=hinge": "another loss",
    "trainer.max_epochs=20": "a longer run",
    "trainer.limit_train_batches=0.1": "shorter epochs, to try something",
    "trainer=gpu": "one GPU; recipe=gpu also trains longer",
    "data=files data.path=<folder>": "your own images",
    "quiet=true": "shows only warnings and results",
}
SUBJECTS = {  # which experiments belong together; the first pattern that matches decides
    "Conditional GANs": "cgan_*",
    "GANs without digits": "gan*",
    "Autoencoders": "autoencoder*",
    "Classifiers from 50 labels": "transfer_*",
    "Translation of digits to outlines, or to slanted digits": "translate_* bottleneck/*",
    "Transformers": "mimic_* transformer_*",
    "Comparisons of models": "comparison interpolation",
    "Classifiers that measure": "scorer*",
    "The student report's own recipes: experiment=student_report/<name>": "student_report/*",
    "Others": "*",
}


def asked_for(words: Sequence[str]) -> list[Path] | None:
    """The folders given by `--config-dir`, if a command line asks for nothing else but help; None otherwise."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config-dir", "-cd", action="append", type=Path, default=[])
    parser.add_argument("--help", "-h", action="store_true")
    try:
        known, others = parser.parse_known_args(words)
    except ArgumentError:  # Hydra says what is wrong
        return None
    return None if others else known.config_dir


def described(folders: Sequence[Path]) -> dict[str, str]:
    """Each experiment in some folders of configurations, with the first line of its comment."""
    paths = [(path, folder / "experiment") for folder in folders for path in folder.glob("experiment/**/*.yaml")]
    return {str(path.relative_to(root).with_suffix("")): _first_line(path) for path, root in sorted(paths)}


def _first_line(path: Path) -> str:
    comments = re.findall(r"^#\s*(?!\s|@package)(.+)$", path.read_text(errors="replace"), re.MULTILINE)
    return comments[0] if comments else ""


def overview(folders: Sequence[Path]) -> str:
    """Commands, experiments by subject, and the most used options, in 80 columns."""
    experiments = described(folders)
    subjects: dict[str, dict[str, str]] = {title: {} for title in SUBJECTS}
    for name, meaning in experiments.items():
        title = next(title for title, some in SUBJECTS.items() if any(fnmatchcase(name, each) for each in some.split()))
        subjects[title][name.removeprefix("student_report/")] = meaning
    parts = {"Commands: python train.py ...": COMMANDS} | subjects
    parts |= {"Options, the most used; docs/options.md explains all": OPTIONS}
    return "\n\n".join(_part(title, lines) for title, lines in parts.items() if lines)


def _part(title: str, lines: Mapping[str, str]) -> str:
    """A title, and a line for each name with its meaning."""
    width = max(map(len, lines))
    rows = (f"  {name:<{width}}  {meaning}" for name, meaning in lines.items())
    return "\n".join([title, *(_shortened(row) for row in rows)])


def _shortened(row: str) -> str:
    return row if len(row) <= COLUMNS else f"{row[: COLUMNS - 3].rstrip()}..."
