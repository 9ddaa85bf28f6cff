"""What each task needs, and what may be set beside its checkpoint. Imports no torch."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from mnist_gen.errors import UserError
from mnist_gen.runs import folders, layout
from mnist_gen.runs.limits import within

AT_WORK = ("out", "device", "root", "trust")  # keys of tasks with a trained model
FREE_BESIDE_CKPT = {  # keys that may be set beside `ckpt`, whose configuration is used otherwise
    "fit": folders.FREE_TO_GO_ON,
    "test": ("callbacks", *folders.FREE_TO_GO_ON),
    "sample": ("digit", "to", "steps", "between", "count", "seed", *AT_WORK),
    "predict": ("images", *AT_WORK),
    "translate": ("images", *AT_WORK),
    "reconstruct": ("images", *AT_WORK),
    "export": ("format", "half", "out", "root", "trust"),
    "demo": ("demo", "port", "device", "root", "trust"),
    "answer": ("answer", "out", "root"),
}
EXPORTS = {"onnx": ".onnx", "torch_export": ".pt2", "safetensors": layout.EXPORTED}  # suffixes, by format
WRITES = {  # suffixes of what a task without a folder writes
    "sample": (".png", ".npz", ".pt", ".gif"),
    **dict.fromkeys(("predict", "translate", "reconstruct"), (".png", ".npz", ".pt")),
    "export": (*EXPORTS.values(),),
    "demo": (),
    "answer": (".html",),
}
MODULES = {  # where a task's function stands, if not in `run`
    **dict.fromkeys(("sample", "predict", "translate", "reconstruct", "export"), "inference.tasks"),
    **dict.fromkeys(("claims", "answer"), "student_report.tasks"),
    "demo": "inference.page",
}
ALONE = (*WRITES, "claims")  # tasks without a folder of their own


def function_of(task: str) -> str:
    """The dotted name of a task's function. Its module is imported for its tasks only, and the demo's has no torch."""
    return f"mnist_gen.{MODULES.get(task, 'run')}.{task}"


def check(given: Mapping[str, Any], multirun: bool) -> None:
    """Checks that the task has what it needs: an experiment, a checkpoint (with few other keys) or a sweep.

    `given` has the values of the command line, by key or group.
    """
    task, ckpt = str(given.get("task", "fit")), given.get("ckpt")
    if multirun and task in ALONE:
        raise UserError(f"task={task}: cannot be swept, because each job would write the same file; leave out -m.")
    if task == "claims" and "sweep" not in given:
        raise UserError("task=claims needs sweep=<folder of a sweep>.")
    if task == "claims":
        return
    if task in WRITES:
        _check_output(task, given)
    elif ckpt is None:
        if task not in ("fit", "study"):
            raise UserError(f"task={task} needs ckpt=<path of a checkpoint>.")
        if "experiment" not in given:
            raise UserError(f"choose an experiment, experiment=<name>; `{folders.command([])}` lists them.")
        return
    if task == "study":
        raise UserError("ckpt: name each model of a study by its part, such as gan.ckpt=<path>.")
    _check_free(task, given)
    if task == "fit" and multirun:
        raise UserError("ckpt: a sweep cannot continue from one checkpoint; repeat the sweep's command.")


def _check_free(task: str, given: Mapping[str, Any]) -> None:
    """Checks that only keys are set that the task has beside the checkpoint's configuration."""
    chosen = ("task", "ckpt", *(["experiment"] if given.get("ckpt") == "last" else []))
    for key in given:
        if not within(key, (*chosen, *FREE_BESIDE_CKPT[task])) or (task == "answer" and key == "ckpt"):
            why = "" if task == "answer" else "the checkpoint has its own configuration; "
            raise UserError(f"{key} cannot be changed: {why}only {', '.join(FREE_BESIDE_CKPT[task])} can.")


def _check_output(task: str, given: Mapping[str, Any]) -> None:
    """Checks that the task can write a file of that name, and that its model has a name."""
    form, out = str(given.get("format", "onnx")), given.get("out")
    wanted = (EXPORTS[form],) if task == "export" and form in EXPORTS else WRITES[task]
    if "ckpt" in given and given["ckpt"] is None:
        raise UserError("ckpt=null: name a model of the package, a run's folder, or a checkpoint.")
    if "out" in given and out is None and task != "export":
        raise UserError(f"out=null: name a file that ends in {' or '.join(wanted)}.")
    if wanted and out is not None and PurePath(str(out)).suffix not in wanted:
        raise UserError(f"out={out}: must be a path that ends in {' or '.join(wanted)}.")
    if given.get("half") and form != "safetensors":
        raise UserError("half=true: only format=safetensors stores weights in 16 bits.")
