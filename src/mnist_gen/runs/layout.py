"""What a run's folder contains, and how a run is found again. Imports no torch."""

import logging
from pathlib import Path
from typing import Any

from mnist_gen.errors import UserError
from mnist_gen.system.files import read_json

METRICS = "metrics.json"  # written last: marks a complete run
ERROR = "error.txt"  # left by a failed job of a sweep
SUMMARY, SUMMARY_LOCK = "summary.md", ".summary.lock"  # of a sweep
COMMAND = "command.txt"  # of a sweep
SUMMARY_MARK = ".summary.due"  # a job has ended since the summary was written
CHECKPOINTS = "checkpoints"
EXPORTED = ".safetensors"  # models without their training, see `inference.stored`
MODELS = Path(__file__).parents[1] / "inference" / "trained"
PACKAGED = sorted(path.stem for path in MODELS.glob(f"*{EXPORTED}"))  # names of the models in the package
BEST, LAST, PREVIOUS = (Path(CHECKPOINTS, f"{name}.ckpt") for name in ("best", "last", "previous"))

log = logging.getLogger(__name__)


def read_record(folder: Path) -> dict[str, Any] | None:
    """metrics.json of a complete run, or None. A foreign or broken file is ignored with a warning."""
    if not (folder / METRICS).exists():
        return None
    record = read_json(folder / METRICS)
    if isinstance(record, dict):
        record = {"seconds": {}, **record}
        config, metrics, seconds = (record.get(part) for part in ("config", "metrics", "seconds"))
        if isinstance(config, dict) and config and _holds_numbers(metrics) and _holds_numbers(seconds):
            return record
    log.warning("%s is ignored: no run wrote it.", folder / METRICS)
    return None


def _holds_numbers(part: Any) -> bool:
    return isinstance(part, dict) and all(type(value) in (int, float) for value in part.values())


def read_part(record: Path, name: str, kind: type) -> Any:
    """A JSON file in a run's folder. A foreign or broken file gives an empty `kind`, with a warning."""
    content = read_json(record / name)
    if isinstance(content, kind):
        return content
    log.warning("%s is ignored: no run wrote it.", record / name)
    return kind()


def packaged(name: str) -> Path:
    """The file of a model in the package."""
    return MODELS / f"{name}{EXPORTED}"


def checkpoint_of(folder: Path) -> Path:
    """The checkpoint to test or load: the best one, or the last if the run keeps no best."""
    return folder / BEST if (folder / BEST).exists() else folder / LAST


def find_checkpoint(root: Path, task: str, named: str, experiment: str | None) -> Path:
    """The file that `ckpt=<file or run's folder>` means, or `ckpt=last`: the newest run, of the experiment if given.

    `fit` continues from the last checkpoint; the other tasks use the best one.
    """
    folder = Path(named)
    if named in PACKAGED and task not in ("fit", "test"):
        return packaged(named)
    if named == "last":
        folder = _newest(root / "outputs", experiment, unfinished=task == "fit")
        print(f"ckpt=last: {folder}")
    if not folder.is_dir():
        if folder.is_file() or (folder.name == LAST.name and folder.with_name(PREVIOUS.name).is_file()):
            return folder
        if named in PACKAGED:
            raise UserError(f"ckpt={named}: a model of the package cannot be trained or tested; name a run.")
        others = f"; models in the package: {', '.join(PACKAGED)}" if PACKAGED and task not in ("fit", "test") else ""
        raise UserError(f"ckpt={named}: no such file or folder{others}.")
    path = folder / LAST if task == "fit" else checkpoint_of(folder)
    if not path.is_file() and not (folder / PREVIOUS).is_file():
        raise UserError(f"ckpt={named}: the folder holds no {LAST}; name a run's folder or a checkpoint.")
    return path


def _newest(outputs: Path, experiment: str | None, unfinished: bool) -> Path:
    """The run with the newest checkpoint, without sweeps, pretrained models and debugging."""
    paths = sorted(outputs.glob(f"{experiment or '**'}/*/{CHECKPOINTS}/*.ckpt"), key=lambda path: -path.stat().st_mtime)
    for folder in dict.fromkeys(path.parents[1] for path in paths):
        kind = folder.relative_to(outputs).parts[0]
        if kind not in ("sweeps", "pretrained", "debug") and not (unfinished and read_record(folder) is not None):
            return folder
    what = f"{'unfinished ' * unfinished}run{f' of experiment={experiment}' if experiment else ''}"
    raise UserError(f"ckpt=last: there is no {what} in {outputs}.")


def quoted(path: str) -> str:
    """A path as a value on Hydra's command line, quoted if needed."""
    return path if all(c.isalnum() or c in "_./-" for c in path) else f"'{path}'"
