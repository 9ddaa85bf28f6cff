"""How fast training is, and why: `python -m benchmarks.speed`, or only some sections, such as `speed naive growth`.

Prints measurements of the main experiment, `experiment=cgan_embed20`, and keeps them in
`benchmarks/records/speed.json`, one entry for each section and processor. Run it alone on the machine.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.faults import conditions
from benchmarks.loops import WARM, BareLoop, NaiveLoop, images_per_second, wait_for
from benchmarks.processes import ROOT
from benchmarks.small import composed
from benchmarks.tables import RECORDS
from mnist_gen import run
from mnist_gen.runs.loggers import callbacks_of
from mnist_gen.system import memory
from mnist_gen.system.devices import computes_bf16
from mnist_gen.training import pictures

os.environ.pop("OMP_NUM_THREADS", None)  # which the tests' stand-ins set: commands may use all cores

RECORD = RECORDS / "speed.json"
IMAGES = 6400  # of a measurement
PAIRS = 20  # of Lightning and a bare loop
WARM_RUN = pictures.AFTER + WARM  # batches of a run before those that are timed: its first picture comes before them
SHORT = ("callbacks.metrics.val_samples=200", "callbacks.metrics.test_samples=200", "callbacks.metrics.cas=false")
ONE_EPOCH = ("experiment=cgan_embed20", "trainer.max_epochs=1", "callbacks.confusion.samples=50", *SHORT)
EXPERIMENTS = ("cgan_embed20", "gan", "translate_cgan_paired", "translate_cyclegan_unpaired", "autoencoder", "scorer")
Metrics = dict[str, float]
WORDS_OF_A_SWEEP = "seed=0,1,2,3,4,5"


def experiments() -> Metrics:
    """Training images per second of experiments: the whole command with 200 batches more, against without them."""
    found = {}
    for name in EXPERIMENTS:
        words = (f"experiment={name}", "debug=fast")  # with a short test
        seconds = [_fit(*words, f"trainer.limit_train_batches={batches}") for batches in (50, 250)]
        batch_size = composed(words, Path()).data.batch_size
        found[f"{name}: images/s"] = 200 * batch_size / (seconds[1] - seconds[0])
    return found


def naive() -> Metrics:
    """A bare loop of our step against a usual script of the same GAN in float32, in turn."""
    loops: dict[str, BareLoop | NaiveLoop] = {"ours": BareLoop(), "naive": NaiveLoop()}
    speeds: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(5):
        for name, loop in loops.items():
            speeds[name].append(images_per_second(loop, IMAGES // 2))
    found = {f"{name}: images/s": statistics.median(values) for name, values in speeds.items()}
    return found | {"ours / naive": statistics.median(map(float.__truediv__, speeds["ours"], speeds["naive"]))}


def lightning() -> Metrics:
    """The time of a run's batches under Lightning over that in a bare loop: A B A B, median and quartiles."""
    loop = BareLoop()
    ratios = [
        images_per_second(loop, IMAGES // 2) / under_lightning(IMAGES // 2, loop.batch_size) for _ in range(PAIRS)
    ]
    low, median, high = statistics.quantiles(ratios, n=4)
    return {"Lightning / bare loop": median, "lower quartile": low, "upper quartile": high, "pairs": PAIRS}


def ceiling() -> Metrics:
    """The step's share of what the machine's best kernels reach, in float32."""
    matrix, images = torch.randn(2048, 2048), torch.randn(64, 64, 32, 32).to(memory_format=torch.channels_last)
    kernel = torch.randn(64, 64, 3, 3).to(memory_format=torch.channels_last)
    best = {
        "matrix product": 2 * 2048**3 / _seconds(lambda: matrix @ matrix),
        "convolution": 2 * 64 * 64 * 64 * 9 * 32**2 / _seconds(lambda: F.conv2d(images, kernel, padding=1)),
    }
    loop = BareLoop("trainer.precision=32-true")
    with FlopCounterMode(display=False) as counter:
        loop.step()
    step = counter.get_total_flops() / (loop.batch_size / images_per_second(loop, IMAGES))
    found = {f"{name}: GFLOP/s": value / 1e9 for name, value in (best | {"a step": step}).items()}
    return (
        found
        | {"a step: MFLOP per image": counter.get_total_flops() / loop.batch_size / 1e6}
        | {"a step / convolution": step / best["convolution"]}
    )


def start() -> Metrics:
    """Seconds from the command to the checkpoint after its first step: the best of three."""
    seconds = []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            begun, last = time.monotonic(), Path(folder, "run/checkpoints/last.ckpt")
            words = (*ONE_EPOCH, "trainer.limit_train_batches=1", f"hydra.run.dir={folder}/run")
            with subprocess.Popen(
                [sys.executable, "train.py", *words], cwd=ROOT, stdout=DEVNULL, stderr=DEVNULL
            ) as process:
                while not last.exists() and process.poll() is None:
                    time.sleep(0.01)
                seconds.append(time.monotonic() - begun)
    return {"first step: s": min(seconds)}


def growth() -> Metrics:
    """Images per second of a bare loop as one thing grows."""
    grown = {
        **{f"batch {size}": (f"data.batch_size={size}",) for size in (16, 64, 128, 256)},
        **{
            f"channels {wide}, {narrow}": (
                f"model.generator.decoder.channels={wide}",
                f"model.discriminator.channels={narrow}",
            )
            for wide, narrow in ((16, 8), (32, 16), (64, 32))
        },
        **{f"{count} images": (f"data.train_images={count}",) for count in (1000, 55_000)},
        "float32": ("trainer.precision=32-true",),
        **({"bf16": ("trainer.precision=bf16-mixed",)} if computes_bf16() else {}),
    }
    found = {f"{name}: images/s": images_per_second(BareLoop(*words), IMAGES) for name, words in grown.items()}
    threads = torch.get_num_threads()
    for number in range(1, threads + 1):
        torch.set_num_threads(number)
        found[f"{number} threads: images/s"] = images_per_second(BareLoop(), IMAGES)
    return found


def sweep() -> Metrics:
    """Seconds of six jobs of an epoch one after another and side by side; whether single-threaded results are equal."""
    with tempfile.TemporaryDirectory() as folder:
        words = ("-m", *ONE_EPOCH, WORDS_OF_A_SWEEP)
        kinds: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
            "in sequence": ((), {}),
            "side by side": (("hydra/launcher=joblib",), {}),
            "in sequence, one thread": ((), {"OMP_NUM_THREADS": "1"}),
        }
        found = {}
        for name, (also, variables) in kinds.items():
            begun = time.monotonic()
            command(*words, *also, f"hydra.sweep.dir={folder}/{name.replace(' ', '_').replace(',', '')}", **variables)
            found[f"{name}: s"] = time.monotonic() - begun
        tables = [
            Path(folder, name, "summary.md").read_text().split("Total")[0]
            for name in ("side_by_side", "in_sequence_one_thread")
        ]
    return found | {
        "in sequence / side by side": found["in sequence: s"] / found["side by side: s"],
        "equal single-threaded results": float(tables[0] == tables[1]),
    }


def quality() -> Metrics:
    """Minutes of training until the validation FID is low enough, in a whole run."""
    with tempfile.TemporaryDirectory() as folder:
        command("experiment=cgan_embed20", "callbacks.metrics.cas=false", f"hydra.run.dir={folder}")
        fids = json.loads(Path(folder, "history.json").read_text())["val/fid"]
        minutes = json.loads(Path(folder, "metrics.json").read_text())["seconds"]["fit"] / 60 / len(fids)
    reached = {limit: next((epoch for epoch, fid in fids if fid <= limit), None) for limit in (1.0, 0.3, 0.15)}
    return {f"FID {limit}: min": minutes * epoch for limit, epoch in reached.items() if epoch is not None}


SECTIONS: dict[str, Callable[[], Metrics]] = {
    section.__name__: section for section in (experiments, naive, lightning, ceiling, start, growth, sweep, quality)
}


class Clock(Callback):
    """Times the batches of a run's first epoch after its first picture, and counts them."""

    def __init__(self) -> None:
        self.seconds, self.batches = 0.0, 0

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == WARM_RUN:
            wait_for(pl_module)
            self.begun = time.perf_counter()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if trainer.is_last_batch:
            wait_for(pl_module)
            self.seconds, self.batches = time.perf_counter() - self.begun, int(trainer.num_training_batches) - WARM_RUN


def under_lightning(images: int, batch_size: int, *also: str) -> float:
    """Images per second of a run inside this process, with all its callbacks, over at most an epoch."""
    batches, clock = images // batch_size, Clock()
    with tempfile.TemporaryDirectory() as folder:
        words = (*ONE_EPOCH, *also, f"root={ROOT}", f"trainer.limit_train_batches={WARM_RUN + batches}")
        data, model, trainer = run._build(
            composed([*words, "trainer.check_val_every_n_epoch=1000"], Path(folder)), Path(folder), None
        )
        callbacks_of(trainer).append(clock)
        trainer.fit(model, data)
    return clock.batches * batch_size / clock.seconds


def _fit(*words: str) -> float:
    """Seconds of training of a command."""
    with tempfile.TemporaryDirectory() as folder:
        command(*words, f"hydra.run.dir={folder}")
        return json.loads(Path(folder, "metrics.json").read_text())["seconds"]["fit"]


def command(*words: str, **variables: str) -> str:
    """The real command; returns what it printed. A failure ends the benchmark."""
    done = subprocess.run(
        [sys.executable, "train.py", *words], cwd=ROOT, capture_output=True, text=True, env=os.environ | variables
    )
    if done.returncode:
        sys.exit(f"python train.py {' '.join(words)}: {done.stderr.strip()[-500:]}")
    return done.stdout + done.stderr


def _seconds(call: Callable[[], object]) -> float:
    """The best of twenty calls."""
    found = []
    for _ in range(20):
        begun = time.perf_counter()
        call()
        found.append(time.perf_counter() - begun)
    return min(found)


def main() -> None:
    """Measures, prints, keeps."""
    chosen = sys.argv[1:] or list(SECTIONS)
    if unknown := [name for name in chosen if name not in SECTIONS]:
        sys.exit(f"{', '.join(unknown)}: choose from {', '.join(SECTIONS)}.")
    memory.keep_freed_memory()
    kept = json.loads(RECORD.read_text()) if RECORD.exists() else []
    for name in chosen:
        print(name, flush=True)
        measured = SECTIONS[name]()
        for what, value in measured.items():
            print(f"  {what:<36}{value:>12.4g}", flush=True)
        entry = {"section": name, **conditions(f"python -m benchmarks.speed {name}"), "metrics": measured}
        same = ("section", "processor", "cores")
        kept = [old for old in kept if any(old[key] != entry[key] for key in same)] + [entry]
        RECORD.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
