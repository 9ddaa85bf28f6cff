"""What a command without arguments, and `--help`, print: tasks, experiments and options. Imports no torch."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from mnist_gen.runs.folders import command
from mnist_gen.system.screen import COLUMNS

COMMANDS = {
    "experiment=<name> [key=value ...]": "trains and tests a model",
    "-m experiment=<name> key=1,2,3": "a sweep: one run per value",
    "ckpt=<run>": "resumes an interrupted run",
    "task=test ckpt=<run>": "tests a model again",
    "task=sample ckpt=<run> digit=3 out=3.png": "draws samples of a GAN",
    "task=claims sweep=<folder>": "judges the student report's claims",
    "experiment=<name> --cfg job": "prints all options and values",
}
OPTIONS = {
    "seed=1": "another random seed",
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
    "Unconditional GANs": "gan*",
    "Autoencoders": "autoencoder*",
    "Classifiers from 50 labels": "transfer_*",
    "Translation of digits to outlines, or to slanted digits": "translate_* bottleneck/*",
    "Transformers": "mimic_* transformer_*",
    "Comparisons of models": "comparison interpolation",
    "Scorers, which measure GANs and translations": "scorer*",
    "The student report's own recipes: experiment=student_report/<name>": "student_report/*",
    "Others": "*",
}


def asked_for(words: Sequence[str]) -> list[Path] | None:
    """The folders given by `--config-dir`, if a command line asks only for help; None otherwise."""
    folders, left = [], list(words)
    while left:
        word, equals, value = left.pop(0).partition("=")
        if word in ("--config-dir", "-cd") and (equals or left):
            folders.append(Path(value if equals else left.pop(0)))
        elif word not in ("--help", "-h"):
            return None
    return folders


def described(folders: Sequence[Path]) -> dict[str, str]:
    """Each experiment in some folders of configurations, with the first line of its comment."""
    paths = [(path, folder / "experiment") for folder in folders for path in folder.glob("experiment/**/*.yaml")]
    return {str(path.relative_to(root).with_suffix("")): _first_line(path) for path, root in sorted(paths)}


def _first_line(path: Path) -> str:
    lines = path.read_text(errors="replace").splitlines()
    comments = (line[1:].strip() for line in lines if line.startswith("#"))
    return next((comment for comment in comments if comment and not comment.startswith("@package")), "")


def subject(experiment: str) -> str:
    """The title under which an experiment is listed."""
    return next(title for title, some in SUBJECTS.items() if any(fnmatchcase(experiment, one) for one in some.split()))


def overview(folders: Sequence[Path]) -> str:
    """Commands, experiments by subject, and the most used options, in 80 columns."""
    experiments = described(folders)
    subjects: dict[str, dict[str, str]] = {title: {} for title in SUBJECTS}
    for name, meaning in experiments.items():
        subjects[subject(name)][name.removeprefix("student_report/")] = meaning
    parts = {f"Commands: {command([])} ...": COMMANDS} | subjects
    parts |= {"Most used options (all: docs/options.md)": OPTIONS}
    return "\n\n".join(_part(title, lines) for title, lines in parts.items() if lines)


def _part(title: str, lines: Mapping[str, str]) -> str:
    """A title, and a line for each name with its meaning."""
    width = max(map(len, lines))
    rows = (f"  {name:<{width}}  {meaning}" for name, meaning in lines.items())
    return "\n".join([title, *(_shortened(row) for row in rows)])


def _shortened(row: str) -> str:
    return row if len(row) <= COLUMNS else f"{row[: COLUMNS - 3].rstrip()}..."
