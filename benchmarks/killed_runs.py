"""Runs that are killed, or whose disk is full: real processes of the real command, then the same command again."""

import json
import random
import shutil
import subprocess
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch

from benchmarks.outcome import Outcome
from benchmarks.processes import OFTEN, SMALL, end, run, start, wait_for

LOST = "seconds of training lost at most"
MOST_LOST = 60  # seconds
TRIES = 5  # to kill a run before it ends


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
    for _ in range(TRIES):
        if killed_alive(folder, words, seconds, share, variables):
            break
        shutil.rmtree(folder, ignore_errors=True)
        seconds, share = seconds and seconds / 2, share / 2  # it had ended: earlier, then
    else:
        return "it ended before it was killed", 0.0
    lost = time.time() - max(path.stat().st_mtime for path in checkpoints(folder))
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


def killed_alive(
    folder: Path, words: list[str], seconds: float | None, share: float, variables: dict[str, str]
) -> bool:
    """Starts a run and kills it, as `killed` says; whether it was still alive then."""
    process = start(words, **variables)
    if seconds is None:
        wait_for(process, lambda: bool(checkpoints(folder)), share * 5)
        alive = wait_for(process, lambda: any((folder / "checkpoints").glob(".*.part")))
    else:
        alive = wait_for(process, lambda: bool(checkpoints(folder)), seconds)
    process.kill()
    process.communicate()
    return alive


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
            time.sleep(4)
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
