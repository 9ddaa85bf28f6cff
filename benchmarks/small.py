"""Tiny runs inside this process, on a set of 300 random images, and what they do to files and processes."""

import contextlib
import copy
import io
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.utils import get_method
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException
from torchvision import datasets

from mnist_gen.data import mnist
from mnist_gen.errors import Refused, UserError
from mnist_gen.runs import plots
from mnist_gen.runs.tasks import function_of
from mnist_gen.system import files
from tests.conftest import TINY
from tests.datasets import write_idx

CONF = str(Path(__file__).resolve().parents[1] / "conf")
EXPECTED = (UserError, Refused, HydraException, OmegaConfBaseException, OSError)  # one line for each
SECONDS = 30  # until something counts as hanging
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
PROCESSES = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect")
CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod", "shutil.rmtree")


def use_small_images(root: Path) -> tuple[str, str]:
    """Makes the set and lets `MNIST` mean it; returns the words that a command needs."""
    chance, resources = torch.Generator().manual_seed(0), []
    for part, count in (("train", 300), ("t10k", 100)):
        images = torch.randint(0, 256, (count, 28, 28), generator=chance)
        resources.append(write_idx(root / f"MNIST/raw/{part}-images-idx3-ubyte.gz", images))
        resources.append(write_idx(root / f"MNIST/raw/{part}-labels-idx1-ubyte.gz", torch.arange(count) % 10))
    mnist.DATASETS["MNIST"] = type("MNIST", (datasets.MNIST,), {"resources": resources, "mirrors": []})
    mnist.VAL_SIZE, mnist.ALWAYS_TRAIN, plots.DPI = 60, 100, 20
    return f"data.root={root}", f"data.cache={root / 'cache'}"


def composed(words: Sequence[str], folder: Path) -> DictConfig:
    """The configuration of a job that writes there, as Hydra hands it over."""
    with initialize_config_dir(CONF, version_base="1.3"):
        cfg = compose("train", overrides=list(words), return_hydra_config=True)
    cfg.hydra.runtime.output_dir = str(folder)
    HydraConfig.instance().set_config(copy.deepcopy(cfg))
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg


def run_task(task: str, words: Sequence[str], folder: Path) -> None:
    """A task, silently."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        get_method(function_of(task))(composed(words, folder))


def small_run(folder: Path, places: Sequence[str]) -> None:
    """The main experiment, tiny."""
    run_task("fit", ["experiment=cgan_embed20", *TINY, *places], folder)


class HangError(BaseException):
    """It took too long; no `Exception`, which code under trial may catch."""


@contextmanager
def limited() -> Iterator[None]:
    """Inside, what takes too long is a `HangError`."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        files.forget_waiting()


class Watch:
    """Takes note of what is written, removed or executed outside some folders, from when it is made."""

    def __init__(self) -> None:
        self.allowed: tuple[Path, ...] | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.allowed is None:
            return
        if event in PROCESSES:
            command = arguments[1] if event == "subprocess.Popen" else arguments[:1]
            if not isinstance(command, list | tuple) or command[0] != "git":  # the commit in metrics.json
                self.seen.append(f"{event} {command}")
        elif event == "open" and (isinstance(arguments[2], int) and arguments[2] & WRITING):
            self._check(event, arguments[0])
        elif event in CHANGES:
            for path in arguments[:2]:
                self._check(event, path)

    def _check(self, event: str, path: object) -> None:
        if not isinstance(path, str | bytes | os.PathLike) or self.allowed is None:
            return
        place = Path(os.path.normpath(Path.cwd() / os.fsdecode(path)))
        if not any(place.is_relative_to(folder) for folder in self.allowed) and not str(place).startswith("/dev/"):
            self.seen.append(f"{event} {place}")

    @contextmanager
    def outside(self, *allowed: Path) -> Iterator[list[str]]:
        """Inside, what happens outside of these folders is gathered."""
        self.seen, self.allowed = [], allowed
        try:
            yield self.seen
        finally:
            self.allowed = None
