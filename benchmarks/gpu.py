"""How fast and how good runs are on a GPU: `python -m benchmarks.gpu`, or only some sections.

Prints measurements and keeps them in `benchmarks/records/gpu.json`, one entry for each section and GPU. Without a
GPU it runs a few batches of everything on the processor, to test itself, and keeps nothing.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.faults import conditions
from benchmarks.loops import BareLoop, images_per_second
from benchmarks.speed import command, under_lightning
from benchmarks.tables import RECORDS

RECORD = RECORDS / "gpu.json"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
STEPS = 2000 if DEVICE == "cuda" else 4  # of a measurement
TEST = ("fid", "coverage", "class_accuracy", "worst_class", "cas")
IN_SMALL = (
    "trainer=cpu", "trainer.precision=32-true", "trainer.max_epochs=2", "trainer.limit_train_batches=2",
    "callbacks.draw.at_epochs=[1]", "callbacks.metrics.val_samples=200", "callbacks.metrics.test_samples=200",
    "callbacks.metrics.cas=false", "callbacks.confusion.samples=50",
)  # fmt: skip
AUTOENCODER_IN_SMALL = "pretrained.overrides=['trainer.max_epochs=1','trainer.limit_train_batches=2']"
GPU_ONLY = ("trainer=gpu", "trainer.benchmark=false")
Metrics = dict[str, float]


def steps() -> Metrics:
    """Steps per second: replayed in a bare loop, under Lightning, and under Lightning without replays."""
    found: Metrics = {}
    for size in (64, 128):
        words, trainer = (f"data.batch_size={size}",), (f"trainer={'gpu' if DEVICE == 'cuda' else 'cpu'}",)
        found[f"batch {size}, bare loop: steps/s"] = (
            images_per_second(BareLoop(*words, device=DEVICE), STEPS * size) / size
        )
        for name, also, count in (("Lightning", (), STEPS), ("eager", ("trainer.capture=false",), STEPS // 4)):
            speed = under_lightning(count * size, size, *words, *trainer, *also)
            found[f"batch {size}, {name}: steps/s"] = speed / size
        bare, under = (found[f"batch {size}, {name}: steps/s"] for name in ("bare loop", "Lightning"))
        found[f"batch {size}: Lightning / bare loop"] = under / bare
    return found


def recipe() -> Metrics:
    """The GPU's recipe: seconds from the command to the last figure, and what it reached."""
    return _run(["experiment=cgan_embed20", "recipe=gpu"], measured=TEST)


def cpu_recipe() -> Metrics:
    """The processor's recipe on the GPU."""
    return _run(["experiment=cgan_embed20", "trainer=gpu"], measured=TEST)


def student_report() -> Metrics:
    """The student report's conditional GAN for its 100 epochs, with the training of the autoencoder it starts from."""
    words = ["experiment=student_report/cgan_embed20", "trainer=gpu", "trainer.max_epochs=100"]
    with tempfile.TemporaryDirectory() as folder:
        words.append(f"pretrained.folder={folder}")
        return _run(words if DEVICE == "cuda" else [*words, AUTOENCODER_IN_SMALL], measured=TEST)


def repeats() -> Metrics:
    """How far two runs with the same seed differ, with replays, and without them: in the validation FID."""
    short = ["experiment=cgan_embed20", "trainer=gpu", "trainer.max_epochs=1", "callbacks.metrics.cas=false"]
    exact = [*short, "trainer.benchmark=false", "+trainer.deterministic=true"]
    fids = {
        name: _run(words, measured=["fid"])["fid"]
        for name, words in {
            "first": exact, "second": exact, "eager": [*exact, "trainer.capture=false"], "usual": short,
        }.items()
    }  # fmt: skip
    return {f"FID, {name} run - first": fid - fids["first"] for name, fid in fids.items() if name != "first"}


SECTIONS: dict[str, Callable[[], Metrics]] = {
    section.__name__: section for section in (steps, recipe, cpu_recipe, student_report, repeats)
}


def _run(words: Sequence[str], measured: Sequence[str]) -> Metrics:
    """A whole command: its seconds, those of training and test, and test metrics."""
    with tempfile.TemporaryDirectory() as folder:
        small = () if DEVICE == "cuda" else IN_SMALL
        words = [word for word in words if DEVICE == "cuda" or word not in GPU_ONLY]
        begun = time.monotonic()
        said = command(*words, *small, f"hydra.run.dir={folder}")
        seconds = time.monotonic() - begun
        for line in said.splitlines():
            if "operation by operation" in line:
                print(f"  {line}", flush=True)
        record = json.loads(Path(folder, "metrics.json").read_text())
    of_test = {name: record["metrics"][f"test/{name}"] for name in measured if f"test/{name}" in record["metrics"]}
    floor = record["metrics"].get("floor/fid")
    ratio = {"fid / floor": of_test["fid"] / floor} if floor and "fid" in of_test else {}
    parts = {f"{part}: s": spent for part, spent in record["seconds"].items()}
    return {"command to last figure: s": seconds, **parts, **of_test, **ratio}


def main() -> None:
    """Measures, prints, keeps."""
    chosen = sys.argv[1:] or list(SECTIONS)
    if unknown := [name for name in chosen if name not in SECTIONS]:
        sys.exit(f"{', '.join(unknown)}: choose from {', '.join(SECTIONS)}.")
    kept = json.loads(RECORD.read_text()) if RECORD.exists() else []
    device = torch.cuda.get_device_name() if DEVICE == "cuda" else None
    begun = time.monotonic()
    for name in chosen:
        print(name, flush=True)
        measured = SECTIONS[name]()
        for what, value in measured.items():
            print(f"  {what:<44}{value:>12.4g}", flush=True)
        print(f"  after {time.monotonic() - begun:.0f} s", flush=True)
        if device is not None:
            entry = {"section": name, "device": device, **conditions(f"python -m benchmarks.gpu {name}")}
            kept = [old for old in kept if any(old[key] != entry[key] for key in ("section", "device"))]
            kept.append(entry | {"metrics": measured})
            RECORD.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
