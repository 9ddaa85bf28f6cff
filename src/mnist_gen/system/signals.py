"""Ctrl-C, SIGTERM and SIGHUP: a command stops where nothing is half done, and within five seconds.

A signal raises `Interrupted` at once, except while something is `held`: a batch, or a file that is being written.
Whatever keeps the main thread busy for longer is ended from another thread; files are written whole or not at all,
so the disk holds nothing half done then either.
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
PATIENCE = 4.0  # seconds that the main thread has to answer

_received: int | None = None
_holds = 0
_in_batches = False
_farewell: Callable[[], None] | None = None


def listen(farewell: Callable[[], None]) -> None:
    """From now on these signals stop the command, with the exit status that shells give: 130, 143 or 129.

    A signal that is ignored already (`nohup`, a shell's background job) stays ignored.

    Args:
        farewell: what is done last.
    """
    global _farewell
    _farewell = farewell
    sys.excepthook = _leave
    for number in NUMBERS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _receive)


def listen_alone() -> None:
    """Takes the signals back from Lightning, whose own handler for SIGTERM ends a run elsewhere."""
    if _farewell is not None and threading.current_thread() is threading.main_thread():
        listen(_farewell)


def stop_listening() -> None:
    """Gives the signals back to Python, and forgets one that came."""
    global _received, _in_batches, _farewell
    _received, _in_batches, _farewell = None, False, None
    sys.excepthook = sys.__excepthook__
    for number in NUMBERS:
        if signal.getsignal(number) is _receive:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def asked() -> bool:
    """Whether the command should stop."""
    return _received is not None


@contextmanager
def held() -> Iterator[None]:
    """Inside, a signal waits."""
    global _holds
    _holds += 1
    try:
        yield
    finally:
        _holds -= 1
    _answer()


def hold_batches() -> None:
    """From now on a signal waits until `release_batches`: a batch is finished and saved first."""
    global _in_batches
    _in_batches = True


def release_batches(answer: bool = True) -> None:
    """The place to stop, if that was asked for; without an `answer` another exception is on its way."""
    global _in_batches
    _in_batches = False
    if answer:
        _answer()


def _receive(number: int, frame: FrameType | None) -> None:
    global _received
    if _received is not None:  # it is stopping
        return
    _received = number
    threading.Thread(target=_end_unless_answered, args=(_farewell,), daemon=True).start()
    _answer()


def _answer() -> None:
    if _received is not None and not _holds and not _in_batches:
        raise Interrupted


def _leave(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, Interrupted):
        _end()
    sys.__excepthook__(kind, error, trace)


def _end_unless_answered(farewell: Callable[[], None] | None) -> None:
    time.sleep(PATIENCE)
    if farewell is not None and farewell is _farewell:
        _end()


def _end() -> None:
    """Ends the process without waiting for threads of libraries, which may still be at work."""
    try:
        if _farewell is not None:
            _farewell()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:  # the terminal may be closed
        os._exit(128 + (_received or signal.SIGINT))
