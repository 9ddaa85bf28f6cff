"""Runs that a signal stops, in each phase: real processes of the real command."""

import shlex
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.outcome import Outcome
from benchmarks.processes import NUMBERS, OFTEN, ROOT, SMALL, end, run, start, wait_for

STOPPED = "seconds to stop at most"
LIMIT = 5.0  # seconds in which a signal must stop a run


@dataclass(frozen=True)
class Phase:
    """A moment at which a signal comes.

    Args:
        name: for the table.
        words: of the command.
        ready: whether the moment is near.
        after: seconds from there.
        goes_on: whether the run is named by its folder, not repeated.
        folder: the run's.
    """

    name: str
    words: Sequence[str]
    ready: Callable[[], bool]
    after: float
    goes_on: bool
    folder: Path


def phases(place: Path, number: int) -> Iterator[Phase]:
    """All of them, in folders of their own."""

    def folder(name: str) -> Path:
        return place / f"{name}_{number}"

    def single(name: str, ready: str, after: float, goes_on: bool = True, *words: str) -> Phase:
        run = folder(name)
        words = (*SMALL, *words, f"hydra.run.dir={run}")
        return Phase(name, words, (run / ready).exists, after, goes_on, run)

    yield single("start", ".", 3.0, False)
    yield single("training", "checkpoints/last.ckpt", 1.0, True, OFTEN, "trainer.limit_train_batches=1000")
    yield single("validation", "checkpoints/last.ckpt", 0.3, True, "callbacks.metrics.val_samples=50000")
    yield single("test", "history.json", 1.0, True, "callbacks.metrics.test_samples=20000")
    yield single("CAS", "history.json", 14.0, True, "callbacks.metrics.cas=true")
    first = folder("pretraining")
    kept = ("pretrained=autoencoder", f"pretrained.folder={first}/kept", "experiment=transfer_linear_frozen")

    def inner() -> bool:
        return any(first.glob("kept/*/checkpoints/last.ckpt"))

    quick = "pretrained.overrides=['callbacks.last.every_seconds=1']"
    yield Phase("pretraining", (*kept, quick, f"hydra.run.dir={first}/run"), inner, 1.0, False, first / "run")
    study = folder("study")
    gan = f"gan.ckpt={place}/gan/checkpoints/last.ckpt"
    models = ("experiment=comparison", f"autoencoder.ckpt={place}/autoencoder/checkpoints/last.ckpt", gan)
    yield Phase("study", (*models, f"hydra.run.dir={study}"), (study / "train.log").exists, 14.0, False, study)
    sweep = folder("sweep")
    jobs = ("-m", *SMALL, "seed=0,1", f"hydra.sweep.dir={sweep}")
    ready = (sweep / "seed-1/.hydra").exists
    yield Phase("sweep, between and inside jobs", jobs, ready, 0.5 * number, False, sweep)


def signals(place: Path) -> Iterator[Outcome]:
    """Each signal in each phase: exit status, seconds, and the command that goes on."""
    few = ("trainer.max_epochs=1", "trainer.limit_train_batches=2")
    for name, experiment in (("autoencoder", "autoencoder"), ("gan", "gan_plain")):
        made = run([f"experiment={experiment}", *few, f"hydra.run.dir={place}/{name}"])
        assert made.status == 0, made.text
    outcomes: dict[str, Outcome] = {}
    jobs = [(number, phase) for number in NUMBERS for phase in phases(place, number)]
    with ThreadPoolExecutor(2) as pool:
        for (_, phase), (complaint, seconds) in zip(jobs, pool.map(lambda job: signalled(*job), jobs), strict=True):
            outcome = outcomes.setdefault(phase.name, Outcome(f"Ctrl-C, SIGTERM, SIGHUP: {phase.name}", STOPPED))
            outcome.add(complaint, seconds)
    yield from outcomes.values()


def signalled(number: int, phase: Phase) -> tuple[str | None, float]:
    """Sends it, and types the command that is said; returns what was wrong, and the seconds it took to stop."""
    process = start(phase.words)
    if not wait_for(process, phase.ready, phase.after):
        return f"it ended before the signal: {end(process).last_line}", 0.0
    process.send_signal(number)
    done = end(process)
    expected = [f"ckpt={phase.folder}"] if phase.goes_on else [*phase.words]
    says = f"Interrupted. Go on: python {shlex.join([str(ROOT / 'train.py'), *expected])}"
    if done.status != 128 + number:
        return f"status {done.status}: {done.last_line}", done.seconds
    if done.seconds > LIMIT:
        return f"it took {done.seconds:.1f} s", done.seconds
    if done.last_line != says:
        return f"it said {done.last_line}", done.seconds
    if number == signal.SIGINT and phase.name != "pretraining":  # the longest; it is resumed like a run
        again = run(shlex.split(says.partition("Go on: python ")[2])[1:])
        if again.status:
            return f"it did not go on: {again.last_line}", done.seconds
    return None, done.seconds
