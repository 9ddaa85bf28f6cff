"""Runs of a tiny model, inside this process or as the real command."""

import copy
import gc
import hashlib
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side, and tiny models gain nothing from threads

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobRuntime
from hydra.types import RunMode
from hydra.utils import get_method
from omegaconf import DictConfig, open_dict
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mnist_gen.runs.tasks import function_of
from mnist_gen.system import devices

pytest_plugins = ("tests.datasets", "tests.interruptions")

ROOT = Path(__file__).parents[1]
CONF = str(ROOT / "conf")
RECORDS = ("metrics.json", "history.json")
os.environ["MNIST_GEN_ROOT"] = str(ROOT)
EXPERIMENTS = sorted(
    str(path.relative_to(ROOT / "conf/experiment").with_suffix("")) for path in ROOT.glob("conf/experiment/**/*.yaml")
)

TINY = (
    "model.generator.decoder.channels=4",
    "model.discriminator.channels=2",
    "data.batch_size=8",
    "data.eval_batch_size=50",
    "trainer.max_epochs=2",
    "trainer.limit_train_batches=3",
    "callbacks.metrics.val_samples=40",
    "callbacks.metrics.test_samples=40",
    "callbacks.metrics.cas=false",
    "callbacks.draw.at_epochs=[1]",
    "callbacks.confusion.samples=20",
)


def composed(*overrides: str) -> DictConfig:
    """The configuration as a job sees it."""
    with initialize_config_dir(CONF, version_base="1.3"):
        return compose("train", overrides=list(overrides))


def train_py(*arguments: str, cwd: Path = ROOT, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """The real command."""
    command = [sys.executable, str(ROOT / "train.py"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout)


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """As `train_py`, without its ten seconds of imports: see `forks.py`."""
    with forking(ROOT, tmp_path_factory.mktemp("said")) as run:
        yield run


@contextmanager
def forking(root: Path, place: Path, **environment: str) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Inside, runs `python train.py` of a project in forks of one process; `place` is for what they print."""
    said = {name: str(place / name) for name in ("stdout", "stderr")}
    options: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    options["env"] = {**os.environ, **environment}
    with subprocess.Popen([sys.executable, str(root / "tests/forks.py")], **options) as forks:
        assert forks.stdin is not None
        assert forks.stdout is not None
        asked, answered = forks.stdin, forks.stdout

        def run(*arguments: str, cwd: Path = root) -> subprocess.CompletedProcess[str]:
            print(json.dumps({"arguments": arguments, "cwd": str(cwd), **said}), file=asked, flush=True)
            status = int(answered.readline())
            texts = {name: Path(path).read_text() for name, path in said.items()}
            return subprocess.CompletedProcess(arguments, status, **texts)

        yield run
        asked.close()


def error_line(done: subprocess.CompletedProcess[str]) -> str:
    """What a failed command printed: exactly one line."""
    assert done.returncode != 0, done.stdout
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same numbers from torch in every run; only the order of the tests changes."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def without_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests compute in float32 on every machine."""
    monkeypatch.setattr(devices, "computes_bf16", lambda: False)


def pytest_collection_finish() -> None:
    """All that is imported stays: looking for garbage in it would take a twentieth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)


@pytest.fixture(autouse=True, scope="session")
def composed_once() -> Iterator[None]:
    """Composing is slow, so that each configuration is composed once; tests get copies."""
    compose_anew, known = ConfigLoaderImpl.load_configuration, dict[tuple[Any, ...], bytes]()

    def load(
        loader: ConfigLoaderImpl, config_name: str, overrides: list[str], run_mode: RunMode, **also: Any
    ) -> DictConfig:
        sources = (source.path for source in loader.get_sources())
        asked = (config_name, *overrides, run_mode, *also.items(), *sources, JobRuntime.instance().get("name"))
        if asked not in known:
            known[asked] = pickle.dumps(compose_anew(loader, config_name, overrides, run_mode, **also))
        return pickle.loads(known[asked])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigLoaderImpl, "load_configuration", load)
        yield


@pytest.fixture
def rough_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of a few pixels that differ if what is shown does: nobody looks at those of tiny models."""
    from mnist_gen.evaluation import dashboard
    from mnist_gen.runs import plots

    def rough(figure: plots.Figure) -> bytes:
        digest = hashlib.sha256()
        for axes in figure.axes:
            words = (axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts, *axes.get_xticklabels())
            digest.update("|".join(text.get_text() for text in words).encode())
            for image in axes.images:
                digest.update(np.ascontiguousarray(image.get_array()).tobytes())
            for line in axes.lines:
                digest.update(np.asarray(line.get_xydata()).tobytes())
        picture = io.BytesIO()
        Image.frombytes("L", (8, 4), digest.digest()).save(picture, format="png")
        return picture.getvalue()

    monkeypatch.setattr(plots, "png", rough)
    monkeypatch.setattr(dashboard, "draw_graph", lambda *_: None)  # traces the networks, which takes a second


@pytest.fixture
def fit(tiny_data: Path, tmp_path: Path, rough_figures: None) -> Callable[..., float | None]:
    """`fit(folder, *overrides)` runs a tiny experiment in the folder, as a Hydra job would."""

    def run(folder: Path, *overrides: str, task: str = "fit", tiny: bool = True) -> float | None:
        goes_on = any(word.startswith("ckpt=") for word in overrides)
        words = [*(TINY if tiny and not goes_on else ()), *overrides]
        with initialize_config_dir(CONF, version_base="1.3"):
            cfg = compose("train", overrides=words, return_hydra_config=True)
        for key, place in (("root", tiny_data), ("cache", tmp_path / "cache")):
            if not any(word.startswith(f"data.{key}=") for word in words):
                cfg.data[key] = str(place)
        cfg.hydra.runtime.output_dir = str(folder)
        HydraConfig.instance().set_config(copy.deepcopy(cfg))
        with open_dict(cfg):
            del cfg["hydra"]
        return get_method(function_of(task))(cfg)

    return run


@pytest.fixture(scope="session")
def made_before(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[tuple[str, ...], Path]]:
    """Where runs are kept that several tests start from, and which there are."""
    return tmp_path_factory.mktemp("made"), {}


@pytest.fixture
def made(
    fit: Callable[..., float | None], made_before: tuple[Path, dict[tuple[str, ...], Path]]
) -> Callable[..., Path]:
    """`made(folder, *overrides)`: the folder as `fit` leaves it; the same overrides run once, others get a copy."""

    def make(folder: Path, *overrides: str, tiny: bool = True) -> Path:
        place, known = made_before
        wanted = (*overrides, str(tiny))
        if wanted not in known:
            fit(place / str(len(known)), *overrides, tiny=tiny)
            known[wanted] = place / str(len(known))
        shutil.copytree(known[wanted], folder)
        return folder

    return make


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where tests keep the autoencoders that are trained for others, if it does not matter which test trains one."""
    return tmp_path_factory.mktemp("pretrained")


def events(folder: Path) -> EventAccumulator:
    """What a run left for TensorBoard."""
    return EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0}).Reload()


def recorded(folder: Path) -> dict[str, Any]:
    """A run's metrics.json."""
    return json.loads((folder / "metrics.json").read_text())


def kept(folder: Path, name: str = "last") -> dict[str, Any]:
    """The content of a run's checkpoint."""
    return torch.load(folder / f"checkpoints/{name}.ckpt", weights_only=True)


def same_weights(one: Path, other: Path, name: str = "last") -> bool:
    """Whether the checkpoints of two runs are of one epoch and have equal weights, to the last bit."""
    left, right = kept(one, name), kept(other, name)
    weights, others = left["state_dict"], right["state_dict"]
    assert weights.keys() == others.keys()
    return left["epoch"] == right["epoch"] and all(torch.equal(weights[key], others[key]) for key in weights)


def same_run(one: Path, other: Path) -> None:
    """Two runs left the same, to the last bit: weights, metrics, history, figures, and nothing half written."""
    assert same_weights(one, other, "best")
    assert same_weights(one, other, "last")
    metrics, history = ([json.loads((run / name).read_text()) for run in (one, other)] for name in RECORDS)
    assert metrics[0]["metrics"] == metrics[1]["metrics"]
    assert metrics[0]["objective"] == metrics[1]["objective"]
    assert history[0] == history[1]
    pictures = [{path.name: path.read_bytes() for path in (run / "figures").iterdir()} for run in (one, other)]
    assert pictures[0] == pictures[1]
    assert not list(one.rglob("*.part"))
