"""The real command as a process, in small."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SMALL = (  # the main experiment in seconds, with checkpoints several times in an epoch
    *("experiment=cgan_embed20", "model.generator.decoder.channels=8", "model.discriminator.channels=4"),
    *("data.batch_size=16", "trainer.max_epochs=3", "trainer.limit_train_batches=120"),
    *("callbacks.metrics.val_samples=200", "callbacks.metrics.test_samples=200", "callbacks.metrics.cas=false"),
    *("callbacks.confusion.samples=50", "callbacks.draw.at_epochs=[1,2,3]"),
)
OFTEN = "callbacks.last.every_seconds=0.3"
NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 420  # seconds that a run may take


@dataclass
class Done:
    """An ended process."""

    status: int
    text: str
    seconds: float = 0.0

    @property
    def last_line(self) -> str:
        """What it said last."""
        return (self.text.replace("\r", "\n").strip().splitlines() or [""])[-1]


def start(words: Sequence[str], **variables: str) -> subprocess.Popen[str]:
    """The real command, which listens to all signals whatever its parent ignores."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=os.environ | {"OMP_NUM_THREADS": "1"} | variables,
        preexec_fn=lambda: [signal.signal(number, signal.SIG_DFL) for number in NUMBERS],
    )


def end(process: subprocess.Popen[str]) -> Done:
    """Waits for it."""
    begun = time.monotonic()
    try:
        text, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        text = f"{process.communicate()[0]}\nstill running after {PATIENCE} s"
    return Done(process.returncode, text, time.monotonic() - begun)


def run(words: Sequence[str]) -> Done:
    """The real command, to its end."""
    return end(start(words))


def wait_for(process: subprocess.Popen[str], ready: Callable[[], bool], after: float = 0.0) -> bool:
    """Until something is there, and some seconds more; whether the process is still alive then."""
    begun = time.monotonic()
    while not ready():
        if process.poll() is not None or time.monotonic() - begun > PATIENCE:
            return False
        time.sleep(0.0005)
    time.sleep(after)
    return process.poll() is None
