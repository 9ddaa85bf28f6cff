"""What a command shows while it works: lines, and a bar where there is a terminal.

Hydra makes the handler and the formatter, see `hydra.job_logging` in conf/train.yaml. Lines also go to train.log.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from shutil import get_terminal_size
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")

COLUMNS = 80
BAR = "{desc} {percentage:3.0f} % |{bar}| {rate_fmt}, {remaining} left"
BAR_SECONDS = 0.5  # between refreshes of a bar
LINE_SECONDS = 10.0  # between two lines where there is no terminal

RESULT = 25  # level of what a command was started for: `quiet` shows it
logging.addLevelName(RESULT, "RESULT")

log = logging.getLogger(__name__)


class Lines(logging.StreamHandler):
    """Writes messages above the bar."""

    def emit(self, record: logging.LogRecord) -> None:
        with tqdm.external_write_mode(file=self.stream):
            super().emit(record)


class Plain(logging.Formatter):
    """The message alone; a warning says that it is one."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {text}"


class Narrow(logging.Formatter):
    """Hydra's lines. That of a job, which names every override, fits the screen."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record).strip()
        is_long_job = record.getMessage().startswith("\t#") and len(text) > COLUMNS
        return f"{text[: COLUMNS - 3]}..." if is_long_job else text


def _handlers() -> list[Lines]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, Lines)]


def be_quiet(level: int = RESULT) -> None:
    """From now on, shows only results, warnings and errors. The job's train.log stays as it is."""
    for handler in _handlers():
        handler.setLevel(level)


def _speaks() -> bool:
    return any(handler.level <= logging.INFO for handler in _handlers())


def shortened(path: Path) -> str:
    """A path relative to the working directory, if it lies in there."""
    path, here = path.absolute(), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


class Bar:
    """Progress of counted work: a bar on a terminal, otherwise a line every ten seconds."""

    def __init__(self, name: str, total: int, unit: str, done: int = 0) -> None:
        """`done`: units finished before, in a resumed run."""
        self.name, self.total, self.unit, self.done, self._first = name, total, unit, done, done + 1
        self._start = self._shown = time.monotonic()
        self._bar: tqdm | None = None
        if _speaks() and sys.stderr.isatty():
            columns = min(COLUMNS, get_terminal_size().columns)
            shape = {"ncols": columns, "bar_format": BAR, "leave": False}
            self._bar = tqdm(desc=name, total=total, initial=done, unit=f" {unit}", **shape)

    def advance(self, values: Callable[[], str] = str) -> None:
        """One more is done. `values` says more about it, and is called only if something is shown."""
        self.done += 1
        now = time.monotonic()
        if self.done == self._first:  # takes longer than the others
            self._start = now
        if now - self._shown < (LINE_SECONDS if self._bar is None else BAR_SECONDS):
            return
        self._shown = now
        if self._bar is not None:
            self._bar.desc, self._bar.n = "  ".join(filter(None, [self.name, values()])), self.done
            self._bar.refresh()
        else:
            left = f"{tqdm.format_interval(self.seconds_left())} left"
            count = f"{self.unit} {self.done:,} of {self.total:,}"
            log.info("%s: %s", self.name, "  ".join(filter(None, [count, values(), left])))

    def said(self) -> None:
        """Postpones the next line, because something else has just been said."""
        self._shown = time.monotonic()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def seconds_left(self) -> float:
        """By the speed so far."""
        return (self.total - self.done) * (time.monotonic() - self._start) / max(1, self.done - self._first)


def counted(items: Sequence[T], name: str, unit: str) -> Iterator[T]:
    """The items, one after another, with a bar."""
    bar = Bar(name, len(items), unit)
    try:
        for item in items:
            yield item
            bar.advance()
    finally:
        bar.close()
