"""Runs `python train.py` in forks of one process that has imported everything, which takes ten seconds.

Reads lines of JSON, `{"arguments", "cwd", "stdout", "stderr"}`; answers each with the exit status.
"""

import json
import os
import runpy
import signal
import sys
import traceback
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))  # as train.py does: another clone may be installed

for name in ("run", "inference.tasks", "student_report.tasks"):
    import_module(f"mnist_gen.{name}")

MOST_SECONDS = 600  # of a command, which is ended then
TRAIN = ROOT / "train.py"


def become(arguments: list[str], cwd: str, stdout: str, stderr: str) -> None:
    """Runs `python train.py ...` in this process, and ends it."""
    for descriptor, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    signal.alarm(MOST_SECONDS)
    os.chdir(cwd)
    sys.argv = [str(TRAIN), *arguments]
    status = 1
    try:
        runpy.run_path(str(TRAIN), run_name="__main__")
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


for line in sys.stdin:
    child = os.fork()
    if child == 0:
        become(**json.loads(line))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
