"""The one entry: Hydra composes a configuration, `mnist_gen.run` does the work."""

import os
import sys
import traceback
from pathlib import Path

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "src"))  # runs from a clone as it is, installed or not

from mnist_gen.config import check_arguments, one_line  # noqa: E402
from mnist_gen.errors import Interrupted, UserError  # noqa: E402

os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach us instead of Hydra's multi-line report
os.environ.setdefault("MNIST_GEN_ROOT", str(ROOT))


failed = False


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> float | None:
    """Runs the task, importing torch only now. A failure is reported at once; a sweep goes on with its other jobs."""
    try:
        return hydra.utils.get_method(f"mnist_gen.run.{cfg.task}")(cfg)
    except (UserError, HydraException, OmegaConfBaseException) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
    except Exception:
        traceback.print_exc()
    global failed
    failed = True
    return None


if __name__ == "__main__":
    try:
        sys.argv[1:] = check_arguments(str(ROOT / "conf"), sys.argv[1:])
        main()
    except Interrupted as stop:
        sys.exit(str(stop))
    except (UserError, HydraException, OmegaConfBaseException) as error:
        sys.exit(f"error: {one_line(error)}")
    except (OSError, ValueError) as error:  # the task's own are caught in `main`: this is about the run's folder
        sys.exit(f"error: {one_line(error)}: choose a folder that can be written, hydra.run.dir=<folder>.")
    except KeyboardInterrupt:
        sys.exit("Interrupted before training began.")
    sys.exit(failed)
