"""What a run's folder contains, and how a run is found again. Imports no torch."""

import logging
from pathlib import Path
from typing import Any

from mnist_gen.errors import UserError
from mnist_gen.system.files import read_json

METRICS = "metrics.json"  # written last: marks a complete run
ERROR = "error.txt"  # left by a failed job of a sweep
CHECKPOINTS = "checkpoints"
BEST, LAST, PREVIOUS = (Path(CHECKPOINTS, f"{name}.ckpt") for name in ("best", "last", "previous"))

log = logging.getLogger(__name__)


def read_record(folder: Path) -> dict[str, Any] | None:
    """metrics.json of a complete run, or None. A foreign or broken file is ignored with a warning."""
    path = folder / METRICS
    if not path.exists():
        return None
    record = read_json(path)
    if _is_record(record):
        return {"seconds": {}, **record}
    log.warning("%s is ignored: no run wrote it.", path)
    return None


def _is_record(record: Any) -> bool:
    """Whether it has all required parts, with the right types."""
    if not isinstance(record, dict) or not {"config", "metrics"} <= record.keys():
        return False
    if not isinstance(record["config"], dict) or not record["config"]:
        return False
    parts = (record["metrics"], record.get("seconds", {}))
    return all(isinstance(part, dict) and all(map(_is_number, part.values())) for part in parts)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_part(record: Path, name: str, kind: type) -> Any:
    """A JSON file in a run's folder. A foreign or broken file gives an empty `kind`, with a warning."""
    content = read_json(record / name)
    if isinstance(content, kind):
        return content
    log.warning("%s is ignored: no run wrote it.", record / name)
    return kind()


def checkpoint_of(folder: Path) -> Path:
    """The checkpoint to test or load: the best one, or the last if the run keeps no best."""
    return folder / BEST if (folder / BEST).exists() else folder / LAST


def find_checkpoint(root: Path, task: str, named: str, experiment: str | None) -> Path:
    """The file that `ckpt=<file or run's folder>` or `ckpt=last` means.

    Args:
        root: the project's folder.
        task: `fit` continues from the last checkpoint; the other tasks use the best one.
        named: the value of `ckpt`.
        experiment: restricts `last` to runs of this experiment; None for all.

    Raises:
        UserError: there is no such checkpoint.
    """
    if named == "last":
        folder = _newest(root, experiment, unfinished=task == "fit")
        print(f"ckpt=last: {folder}")
    else:
        folder = Path(named)
    if not folder.is_dir():
        if folder.is_file() or (folder.name == LAST.name and folder.with_name(PREVIOUS.name).is_file()):
            return folder
        raise UserError(f"ckpt={named}: no such file or folder.")
    path = folder / LAST if task == "fit" else checkpoint_of(folder)
    if not path.is_file() and not (folder / PREVIOUS).is_file():
        raise UserError(f"ckpt={named}: the folder holds no {LAST}; name a run's folder or a checkpoint.")
    return path


def _newest(root: Path, experiment: str | None, unfinished: bool) -> Path:
    """The run with the newest checkpoint, without sweeps and pretrained models."""
    found: dict[Path, float] = {}
    for path in (root / "outputs").glob(f"{experiment or '**'}/*/{CHECKPOINTS}/*.ckpt"):
        folder = path.parents[1]
        kind = folder.relative_to(root / "outputs").parts[0]
        if kind in ("sweeps", "pretrained") or (unfinished and read_record(folder) is not None):
            continue
        found[folder] = max(found.get(folder, 0.0), path.stat().st_mtime)
    if not found:
        what = f"{'unfinished ' * unfinished}run{f' of experiment={experiment}' if experiment else ''}"
        raise UserError(f"ckpt=last: there is no {what} in {root / 'outputs'}.")
    return max(found, key=found.__getitem__)


def quoted(path: str) -> str:
    """A path as a value on Hydra's command line, quoted if needed."""
    return path if all(c.isalnum() or c in "_./-" for c in path) else f"'{path}'"
