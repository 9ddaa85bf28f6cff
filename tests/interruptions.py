"""Full disks and signals: fixtures that interrupt what runs."""

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from mnist_gen.errors import Interrupted
from mnist_gen.system import files, signals


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bool], None]]:
    """`full_disk(True)`: from now on nothing can be flushed to the disk; `full_disk(False)`: there is room again."""
    flush = os.fsync

    def arrange(full: bool) -> None:
        def fail(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", fail if full else flush)

    yield arrange
    files.forget_waiting()


def stop_listening() -> None:
    """Forgets a received signal, and gives the signals back to Python."""
    signals._received, signals._in_batches, signals._farewell = None, False, None
    sys.excepthook = sys.__excepthook__
    for number in signals.NUMBERS:
        if signal.getsignal(number) is signals._receive:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@contextmanager
def listening() -> Iterator[None]:
    """Inside, signals stop what runs, as they stop the real command; also where the tests themselves ignore them."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in signals.NUMBERS}
    signals.listen(lambda: None)
    try:
        yield
    finally:
        stop_listening()
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AbstractContextManager[None]]:
    """`with interrupted(Module, step):` the run inside gets Ctrl-C in that training step, and stops."""

    @contextmanager
    def arrange(module: Any, step: int) -> Iterator[None]:
        train = module.training_step

        def press(self: Any, batch: Any, batch_idx: int) -> Any:
            if self.global_step == step - 1:
                os.kill(os.getpid(), signal.SIGINT)
            return train(self, batch, batch_idx)

        with monkeypatch.context() as patch:
            patch.setattr(module, "training_step", press)
            with listening(), pytest.raises(Interrupted):
                yield

    return arrange
