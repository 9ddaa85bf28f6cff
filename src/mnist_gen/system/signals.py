"""Ctrl-C, SIGTERM and SIGHUP: the command stops at a safe place, within five seconds.

A signal raises `Interrupted` at once, or as soon as the current training batch or file write is finished. If the main
thread does not respond in time, another thread ends the process; file writes are atomic, so no file is left incomplete.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType

from mnist_gen.errors import Interrupted

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 4.0  # seconds that the main thread has to respond

_received: int | None = None
_holds = 0
_in_batches = False
_farewell: Callable[[], None] | None = None
_pass_on: Callable[[], None] | None = None


def pass_on(stop: Callable[[], None]) -> None:
    """From now on other processes do the work: a signal calls `stop`, which has `PATIENCE` to stop them, and ends."""
    global _pass_on
    _pass_on = stop


def listen_in_worker() -> None:
    """Installs the handlers in a process that does one of several jobs, unless they are installed.

    The command that started the process says the farewell.
    """
    if _farewell is None:
        listen(lambda: None)


def listen(farewell: Callable[[], None]) -> None:
    """Installs the signal handlers. The exit status is the shells' convention: 130, 143 or 129.

    A signal that is already ignored (`nohup`, a shell's background job) stays ignored. `farewell` is called last.
    """
    global _farewell
    _farewell = farewell
    sys.excepthook = _exit_if_interrupted
    for number in NUMBERS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _receive)


def listen_alone() -> None:
    """Replaces Lightning's handler for SIGTERM, which would end a run elsewhere."""
    if _farewell is not None and threading.current_thread() is threading.main_thread():
        listen(_farewell)


def asked() -> bool:
    """Whether a signal has asked the command to stop."""
    return _received is not None


@contextmanager
def held() -> Iterator[None]:
    """Delays signals until the end of the block."""
    global _holds
    _holds += 1
    try:
        yield
    finally:
        _holds -= 1
    _raise_if_asked()


def hold_batches() -> None:
    """Delays signals until `release_batches`, so that a batch is finished and saved first."""
    global _in_batches
    _in_batches = True


def release_batches(answer: bool = True) -> None:
    """Ends the delay. Raises `Interrupted` if a signal came, unless `answer` is False because of another exception."""
    global _in_batches
    _in_batches = False
    if answer:
        _raise_if_asked()


def _receive(number: int, frame: FrameType | None) -> None:
    global _received
    if _received is not None:  # already stopping
        return
    _received = number
    threading.Thread(target=_end_after_patience, args=(_farewell,), daemon=True).start()
    if _pass_on is not None:
        _pass_on()
        _end()
    _raise_if_asked()


def _raise_if_asked() -> None:
    if _received is not None and not _holds and not _in_batches:
        raise Interrupted


def _exit_if_interrupted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, Interrupted):
        _end()
    sys.__excepthook__(kind, error, trace)


def _end_after_patience(farewell: Callable[[], None] | None) -> None:
    time.sleep(PATIENCE)
    if farewell is not None and farewell is _farewell:
        _end()


def _end() -> None:
    """Ends the process without waiting for library threads, which may still be busy."""
    try:
        if _farewell is not None:
            _farewell()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:  # even if the terminal is closed
        os._exit(128 + (_received or signal.SIGINT))
