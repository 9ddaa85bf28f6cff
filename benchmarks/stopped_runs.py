"""Runs that are killed, whose disk is full, or that a signal stops: real processes of the real command."""

import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from outcome import Outcome

ROOT = Path(__file__).resolve().parents[1]
SMALL = (  # a main job of seconds, with checkpoints several times in an epoch
    *("experiment=cgan_embed20", "model.generator.decoder.channels=8", "model.discriminator.channels=4"),
    *("data.batch_size=16", "trainer.max_epochs=3", "trainer.limit_train_batches=120"),
    *("callbacks.judge.val_samples=200", "callbacks.judge.test_samples=200", "callbacks.judge.cas=false"),
    *("callbacks.readings.samples=50", "callbacks.draw.at_epochs=[1,2,3]"),
)
OFTEN = "callbacks.last.every_seconds=0.3"
NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 420  # seconds that a run may take
LOST, STOPPED = "seconds of training lost at most", "seconds to stop at most"
MOST_LOST = 60  # seconds
LIMIT = 5.0  # seconds in which a signal must stop a run


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


def checkpoints(folder: Path) -> list[Path]:
    """Those a run has written."""
    return sorted(folder.glob("checkpoints/*.ckpt"))


def torn(folder: Path) -> list[str]:
    """Names of checkpoints that are damaged."""
    found = []
    for path in checkpoints(folder):
        try:
            with zipfile.ZipFile(path) as archive:
                good = archive.testzip() is None
        except zipfile.BadZipFile:
            good = False
        found += [] if good else [path.name]
    return found


def difference(folder: Path, whole: Path) -> str | None:
    """What a run left otherwise than an uninterrupted one; None if nothing."""
    if left := sorted(path.name for path in folder.rglob("*.part")):
        return f"temporary files are left: {left}"
    for name in ("best", "last"):
        one, other = (torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True) for run in (folder, whole))
        if any(not torch.equal(one["state_dict"][key], value) for key, value in other["state_dict"].items()):
            return f"{name}.ckpt has other weights"
    if metrics(folder) != metrics(whole):
        return "other metrics"
    if (folder / "history.json").read_bytes() != (whole / "history.json").read_bytes():
        return "another history"
    pictures = {path.name: path.read_bytes() for path in (whole / "figures").iterdir()}
    if pictures != {path.name: path.read_bytes() for path in (folder / "figures").iterdir()}:
        return "other figures"
    return None


def metrics(folder: Path) -> dict[str, float]:
    """Of a complete run."""
    return json.loads((folder / "metrics.json").read_text())["metrics"]


def uninterrupted(place: Path) -> Path:
    """A whole run to compare with."""
    done = run([*SMALL, OFTEN, f"hydra.run.dir={place}/whole"])
    assert done.status == 0, done.text
    return place / "whole"


def kills(place: Path) -> Iterator[Outcome]:
    """`kill -9` while a checkpoint is written, and at any time; then the same command again."""
    whole, elsewhere = uninterrupted(place), Path("/dev/shm")
    chance = random.Random(0)
    writing = {"TMPDIR": str(elsewhere)} if elsewhere.is_dir() else {}
    there = " with $TMPDIR on another file system" if writing else " (no other file system for $TMPDIR)"
    kinds = [
        (Outcome(f"kill -9 while a checkpoint is written,{there}", LOST), 6, writing),
        (Outcome("kill -9 while a checkpoint is written", LOST), 4, {}),
        (Outcome("kill -9 at any time", LOST), 20, {}),
    ]
    jobs = []
    for number, (outcome, count, variables) in enumerate(kinds):
        for turn in range(count):
            seconds = None if number < 2 else chance.uniform(0, 14)
            jobs.append(
                (outcome, partial(killed, place / f"{number}_{turn}", whole, seconds, chance.random(), variables))
            )
    with ThreadPoolExecutor(2) as pool:
        for (outcome, _), (complaint, lost) in zip(jobs, pool.map(lambda job: job[1](), jobs), strict=True):
            outcome.add(complaint, lost)
    yield from (outcome for outcome, _, _ in kinds)


def killed(
    folder: Path, whole: Path, seconds: float | None, share: float, variables: dict[str, str]
) -> tuple[str | None, float]:
    """Kills a run so long after its first checkpoint, or while one is written, and continues it.

    Args:
        folder: the run's.
        whole: that of a run that was not killed.
        seconds: after the first checkpoint; None: when a checkpoint is half written.
        share: of the run's checkpoints that come before the one that is killed.
        variables: of the environment.

    Returns:
        What was wrong, and the seconds of work that were lost.
    """
    words = [*SMALL, OFTEN, f"hydra.run.dir={folder}"]
    process = start(words, **variables)
    if seconds is None:
        wait_for(process, lambda: bool(checkpoints(folder)), share * 5)
        alive = wait_for(process, lambda: any((folder / "checkpoints").glob(".*.part")))
    else:
        alive = wait_for(process, lambda: bool(checkpoints(folder)), seconds)
    process.kill()
    process.communicate()
    if not alive and seconds is None:
        return "it ended before it was killed", 0.0
    lost = time.time() - max(path.stat().st_mtime for path in checkpoints(folder)) if alive else 0.0
    finishing = (folder / "history.json").exists()  # nothing is left to learn
    if bad := torn(folder):
        return f"torn: {bad}", lost
    done = run(words)
    if done.status != 0:
        return f"it did not go on: {done.last_line}", lost
    if lost > MOST_LOST and not finishing:
        return f"{lost:.0f} s lost", lost
    complaint = difference(folder, whole)
    shutil.rmtree(folder)
    return complaint, 0.0 if finishing else lost


def full_disks(place: Path) -> Iterator[Outcome]:
    """A disk that fills up in training, and is freed later, or not before the run has ended."""
    outcomes = Outcome("full disk, freed while the run goes on"), Outcome("full disk until the run ends, then freed")
    if not mounted(place / "try"):
        for outcome in outcomes:
            outcome.note = "not tried: no tmpfs can be mounted here"
        yield from outcomes
        return
    subprocess.run(["umount", place / "try"], check=True)
    whole, chance = uninterrupted(place), random.Random(1)
    jobs = [(outcome, place / f"{number}_{turn}") for number, outcome in enumerate(outcomes) for turn in range(6)]
    drawn = [(chance.uniform(0, 4), chance.choice((0, 4, 100, 400))) for _ in jobs]
    with ThreadPoolExecutor(2) as pool:
        tries = [
            pool.submit(filled, disk, whole, seconds, room, freed=outcome is outcomes[0])
            for (outcome, disk), (seconds, room) in zip(jobs, drawn, strict=True)
        ]
        for (outcome, _), complaint in zip(jobs, tries, strict=True):
            outcome.add(complaint.result())
    yield from outcomes


def mounted(disk: Path) -> bool:
    """Makes a small disk, if that is allowed."""
    disk.mkdir(parents=True)
    return (
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], capture_output=True).returncode == 0
    )


def filled(disk: Path, whole: Path, seconds: float, room: int, freed: bool) -> str | None:
    """Fills a run's disk so long after its first checkpoint, but for so many KiB. Returns what was wrong."""
    mounted(disk)
    folder, words = disk / "run", [*SMALL, OFTEN, f"hydra.run.dir={disk}/run"]
    try:
        process = start(words)
        wait_for(process, lambda: bool(checkpoints(folder)), seconds)
        fill(disk / "filler", room)
        if freed:
            wait_for(process, lambda: False) if process.poll() is not None else time.sleep(4)
            (disk / "filler").unlink()
        done = end(process)
        if "Traceback" in done.text:
            return "a traceback"
        if bad := torn(folder):
            return f"torn: {bad}"
        if not checkpoints(folder):
            return "no checkpoint is left"
        if done.status and "Go on: python" not in done.last_line and "disk is full" not in done.text:
            return f"no clear line: {done.last_line}"
        (disk / "filler").unlink(missing_ok=True)
        if done.status and run(words).status:
            return "it did not go on"
        return difference(folder, whole)
    finally:
        subprocess.run(["umount", "-l", disk], check=False)


def fill(path: Path, room: int) -> None:
    """Takes all of a disk but so many KiB."""
    with path.open("wb", buffering=0) as file:
        for size in (2**16, 2**12):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
        file.truncate(max(0, file.tell() - room * 1024))


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
    yield single("validation", "checkpoints/last.ckpt", 0.3, True, "callbacks.judge.val_samples=50000")
    yield single("test", "history.json", 1.0, True, "callbacks.judge.test_samples=20000")
    yield single("CAS", "history.json", 14.0, True, "callbacks.judge.cas=true")
    first = folder("pretraining")
    kept = ("pretrained=autoencoder", f"pretrained.folder={first}/kept", "experiment=transfer_linear_frozen")
    inner = lambda: any(first.glob("kept/*/checkpoints/last.ckpt"))  # noqa: E731
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
