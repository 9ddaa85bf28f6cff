"""Crafted checkpoints: sampled from, tested and gone on from, inside this process, under watch."""

import copy
import math
import pickle
import shutil
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch

from benchmarks.outcome import Outcome
from benchmarks.small import EXPECTED, HangError, Watch, limited, run_task, small_run, use_small_images
from mnist_gen.gan import GAN
from mnist_gen.runs import checkpoint

Content = dict[str, Any]
Change = Callable[[Content], None]
TARGETS = (
    *("os.system", "pathlib.Path.unlink", "shutil.rmtree", "builtins.eval", "subprocess.Popen", "torch.load"),
    *(
        "mnist_gen.system.files.FolderLock",
        "mnist_gen.data.mnist.shutil.rmtree",
        "mnist_gen.evaluation.sweeps.summarise",
    ),
    *(
        "mnist_gen.gan.GAN.load_from_checkpoint",
        "lightning.pytorch.callbacks.ModelCheckpoint",
        "lightning.pytorch.callbacks.spike.SpikeDetection",
        "hydra.utils.instantiate",
    ),
)
PLACES = ("/", "/x/..", "~", "/etc/mnist_gen", "../../..", "/dev/null", "")
HUGE = (10**9, 10**18, 10**30, -1, 0)
OTHERS: tuple[Any, ...] = ([], 5, {1: 2})
NO_NUMBERS: tuple[Any, ...] = ("text", None, [1], {"a": 1})


class Touch:
    """Pickles to a call that makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def put(key: str, value: Any) -> Change:
    """Sets a dotted key of the content."""

    def change(content: Content) -> None:
        *parents, last = key.split(".")
        node: Any = content
        for parent in parents:
            node = node[parent]
        node[last] = value

    return change


def first_weight(change: Callable[[torch.Tensor], Any]) -> Change:
    """Replaces the first weight by what is made of it."""

    def apply(content: Content) -> None:
        name = next(iter(content["state_dict"]))
        content["state_dict"][name] = change(content["state_dict"][name])

    return apply


def adam(name: str, value: torch.Tensor) -> Change:
    """Sets a part of the first optimizer's state of its first weight."""

    def change(content: Content) -> None:
        content["optimizer_states"][0]["state"][0][name] = value

    return change


def doubled(depth: int) -> Content:
    """Texts of which each holds the next twice: the first would be 2 ** depth long."""
    return {f"t{level}": f"${{model.t{level + 1}}}" * 2 for level in range(depth)} | {f"t{depth}": "x"}


def code() -> Iterator[Change]:
    """Classes and look-ups that would run something."""
    for target in TARGETS:
        yield put("config.model._target_", target)
        yield put("config.model.generator._target_", target)
        yield put("config.callbacks.last._target_", target)
    for look_up in ("${oc.env:HOME}", "${oc.create:'{_target_: os.getcwd}'}", "${${seed}:HOME}", r"\${oc.env:HOME}"):
        yield put("config.model.loss", look_up)
        yield put("config.data.batch_size", look_up)
        yield put("config.scorer", look_up)
        yield put("config.data.path", look_up)


def paths() -> Iterator[Change]:
    """Places that would be written, emptied or removed."""
    for place in PLACES:
        for key in ("config.root", "config.data.root", "config.data.cache", "config.data.path"):
            yield put(key, place)
        yield put("callbacks.BestCheckpoint", {"score": 1e9, "best_k_models": {place: 1e9}, "best_model_path": place})
    for place in PLACES[:4]:
        yield put("config.hydra", {"run": {"dir": place}, "sweep": {"dir": place}})
        yield put("config.scorer", place)
        yield put("config.callbacks.metrics.scorer", place)
        yield put("config.pretrained", {"ckpt": place, "folder": place})
        yield put("config.data", {"_target_": "mnist_gen.data.mnist.ImageData", "_args_": ["MNIST", place, place, 8]})


def sizes() -> Iterator[Change]:
    """Networks, images and tensors that would fill the memory."""
    for key in ("model.embedding_dim", "model.latent_dim", "model.generator.decoder.channels", "data.batch_size"):
        for size in HUGE:
            yield put(f"config.{key}", size)
    yield first_weight(lambda weight: weight.flatten()[:1].expand(10**9))
    yield first_weight(lambda weight: torch.empty(0))
    yield put("callbacks.DrawSamples", {"grids": {1: torch.zeros(1, dtype=torch.uint8).expand(10**9)}, "digits": {}})
    yield put("optimizer_states", [])
    yield put("config.trainer", {"max_epochs": 3, "accelerator": "cpu", "devices": 1024, "strategy": "ddp"})
    yield put("config.model", {"_target_": "mnist_gen.gan.GAN"} | doubled(40))
    yield put("callbacks.Curves.history", {"train/loss_d": [[1, 0.5]] * 100_000})


def types() -> Iterator[Change]:
    """Parts of another kind."""
    for key in ("config", "state_dict", "loops", "callbacks", "optimizer_states", "lr_schedulers"):
        for other in OTHERS:
            yield put(key, other)
    for key in ("model", "data", "callbacks", "trainer"):
        yield put(f"config.{key}", 5)
    yield put("config.model._target_", "mnist_gen.training.adversarial.Hinge")
    for key in ("model", "data", "callbacks.last"):
        yield put(f"config.{key}._partial_", True)
    yield put("callbacks.LastCheckpoint", {"random": 5})
    yield put("callbacks.BestCheckpoint", {"score": "x"})
    yield put("callbacks.Curves", {"history": 5, "sums": [], "batches": "x"})


def shapes() -> Iterator[Change]:
    """Weights of another model."""
    yield first_weight(lambda weight: weight.flatten())
    yield first_weight(lambda weight: weight[:1])
    yield first_weight(lambda weight: weight.to_sparse())
    yield first_weight(lambda weight: weight.to(torch.complex64))
    yield first_weight(lambda weight: weight.to("meta"))
    yield first_weight(lambda weight: weight.to(torch.float8_e4m3fn))
    yield first_weight(lambda weight: 5)
    yield lambda content: content["state_dict"].pop(next(iter(content["state_dict"])))
    yield lambda content: content["state_dict"].update(more=torch.zeros(1))
    yield lambda content: content["state_dict"].clear()
    for name in ("exp_avg", "step"):
        yield adam(name, torch.zeros(7))
    yield lambda content: content["optimizer_states"][0]["param_groups"].clear()
    yield lambda content: content["callbacks"]["LastCheckpoint"]["random"].update(cpu=torch.zeros(3))


def values() -> Iterator[Change]:
    """Numbers that are none, or impossible."""
    for number in (math.nan, math.inf, -math.inf):
        yield first_weight(partial(torch.full_like, fill_value=number))
        yield adam("exp_avg", torch.full((1,), number))
    for key in ("model.r1", "model.ema_decay", "trainer.max_epochs", "seed"):
        for other in NO_NUMBERS:
            yield put(f"config.{key}", other)
    yield put("loops.fit_loop.epoch_progress", {"total": -5})
    yield put("lr_schedulers", [{"last_epoch": "x", "lr_lambdas": 5}] * 2)


def damaged(whole: Path, place: Path) -> Iterator[bytes]:
    """Files that are no archives of torch, or not whole."""
    content = whole.read_bytes()
    yield from (b"", b"\0" * 1000, b"text", content[: len(content) // 2], content[100:])
    yield pickle.dumps(Touch(place / "ran"))
    for position in (3, len(content) // 3, len(content) // 2):
        yield content[:position] + bytes([content[position] ^ 255]) + content[position + 1 :]
    packed = place / "packed"
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as other:
        for info in archive.infolist():
            other.writestr(info.filename, archive.read(info))
    yield packed.read_bytes()
    torch.save(Touch(place / "ran"), packed)
    yield packed.read_bytes()


def crafted_files(place: Path) -> Iterator[Outcome]:
    """Every file is sampled from, tested, and gone on from with more epochs."""
    places = use_small_images(place / "data")
    small_run(place / "run", places)
    whole, watch = place / "run/checkpoints/last.ckpt", Watch()
    content = torch.load(whole, weights_only=True)
    for kind in (code, paths, sizes, types, shapes, values):
        outcome = Outcome(f"crafted checkpoints: {kind.__name__}")
        for change in kind():
            crafted = copy.deepcopy(content)
            change(crafted)
            torch.save(crafted, place / "crafted.ckpt")
            outcome.add(tried(place, watch, places))
        yield outcome
    outcome = Outcome("damaged checkpoints")
    for raw in damaged(whole, place):
        (place / "crafted.ckpt").write_bytes(raw)
        outcome.add(tried(place, watch, places))
    yield outcome


def tried(place: Path, watch: Watch, places: tuple[str, str]) -> str | None:
    """What the crafted file did that it should not: run something, write elsewhere, end in a traceback, hang."""
    folder = place / "tried"
    shutil.copytree(place / "run", folder)
    for name in ("last", "best"):
        shutil.copy(place / "crafted.ckpt", folder / f"checkpoints/{name}.ckpt")
    (folder / "checkpoints/previous.ckpt").unlink(missing_ok=True)
    path = folder / "checkpoints/last.ckpt"
    attempts: list[Callable[[], Any]] = [
        lambda: cast(GAN, checkpoint.load(path)).sample(count=2),
        lambda: run_task("test", ["task=test", f"ckpt={path}", *places], folder / "test"),
        lambda: run_task("fit", [f"ckpt={path}", "trainer.max_epochs=3", *places], folder),
    ]
    complaint = None
    with watch.outside(folder, place / "data") as seen:
        for attempt in attempts:
            try:
                with limited():
                    attempt()
            except EXPECTED:
                pass
            except HangError:
                complaint = "it hangs"
            except Exception as error:  # a traceback: the very thing that is looked for
                complaint = f"{type(error).__name__}: {error}"
    if seen:
        complaint = f"outside: {seen[:3]}"
    if (place / "ran").exists():
        complaint = "code was run"
    shutil.rmtree(folder)
    return complaint
