"""What a command shows while it works: lines, and a bar where there is a terminal.

Hydra makes the handler and the formatter, see `hydra.job_logging` in conf/train.yaml. Lines also go to train.log.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from shutil import get_terminal_size
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")

COLUMNS = 80
BAR = "{desc:<8} {percentage:3.0f} % |{bar}| {postfix}{rate_fmt} {remaining} left"
BAR_SECONDS = 0.5  # between two looks of a bar
LINE_SECONDS = 10.0  # between two lines where there is no terminal

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


def _handlers() -> list[Lines]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, Lines)]


def be_quiet() -> None:
    """From now on, shows warnings, errors and results only. The job's train.log stays as it is."""
    for handler in _handlers():
        handler.setLevel(logging.WARNING)


def _speaks() -> bool:
    return any(handler.level < logging.WARNING for handler in _handlers())


class Bar:
    """Progress of counted work: a bar on a terminal, otherwise a line every ten seconds."""

    def __init__(self, name: str, total: int, unit: str, done: int = 0) -> None:
        """`done` is where the work begins, of `total`."""
        self.name, self.total, self.unit, self.done, self._began_at = name, total, unit, done, done
        self._start = self._shown = time.monotonic()
        self._bar: tqdm | None = None
        if _speaks() and sys.stderr.isatty():
            columns = min(COLUMNS, get_terminal_size().columns)
            shape = {"ncols": columns, "bar_format": BAR, "mininterval": 0, "leave": False}
            self._bar = tqdm(desc=name, total=total, initial=done, unit=unit, **shape)

    def advance(self, values: Callable[[], str] = str) -> None:
        """One more is done. `values` says more about it, and is called only if something is shown."""
        self.done += 1
        now = time.monotonic()
        if now - self._shown < (LINE_SECONDS if self._bar is None else BAR_SECONDS):
            return
        self._shown = now
        if self._bar is not None:
            self._bar.set_postfix_str(values(), refresh=False)
            self._bar.update(self.done - self._bar.n)
        else:
            log.info(
                "%s: %s",
                self.name,
                "  ".join(filter(None, [self._count(), values(), f"{tqdm.format_interval(self.seconds_left())} left"])),
            )

    def said(self) -> None:
        """Something else has just been said: the next line can wait."""
        self._shown = time.monotonic()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _count(self) -> str:
        return f"{self.unit} {self.done:,} of {self.total:,}"

    def seconds_left(self) -> float:
        """By the speed so far."""
        return (self.total - self.done) * (time.monotonic() - self._start) / (self.done - self._began_at)


def counted(items: Sequence[T], name: str, unit: str) -> Iterator[T]:
    """The items, one after another, with a bar."""
    bar = Bar(name, len(items), unit)
    try:
        for item in items:
            yield item
            bar.advance()
    finally:
        bar.close()
