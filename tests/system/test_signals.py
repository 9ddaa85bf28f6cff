"""Where a signal stops the command, and what delays it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from mnist_gen.errors import Interrupted
from mnist_gen.system import signals
from tests.conftest import ROOT
from tests.interruptions import listening, stop_listening

EACH = pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=lambda n: int(n)
)


def test_a_signal_stops_at_once_unless_held():
    done = []

    def held() -> None:
        with signals.held():
            with signals.held():
                os.kill(os.getpid(), signal.SIGINT)
                done.append("inner")
            done.append("outer")
        done.append("after")

    with listening(), pytest.raises(Interrupted):
        os.kill(os.getpid(), signal.SIGTERM)
    with listening(), pytest.raises(Interrupted):
        held()
    assert done == ["inner", "outer"]
    assert not signals.asked()


def test_a_signal_waits_for_the_batch_to_be_saved():
    with listening():
        signals.hold_batches()
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGINT)  # a second signal changes nothing
        assert signals.asked()
        with signals.held():
            pass
        with pytest.raises(Interrupted):
            signals.release_batches()
        signals.release_batches(answer=False)


def run(body: str, number: int, before: str = "") -> subprocess.Popen:
    """Starts a process that listens, waits for its first line and sends it the signal."""
    code = (
        f"import sys, time; sys.path.insert(0, {str(ROOT / 'src')!r})\n"
        "from mnist_gen.system import signals\n"
        "signals.listen(lambda: print('farewell'))\n"
        f"{before}\nprint('in', flush=True)\n{body}"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: [signal.signal(each, signal.SIG_DFL) for each in signals.NUMBERS],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    process.send_signal(number)
    return process


@EACH
def test_exit_status_and_farewell(number, status):
    with run("time.sleep(60)", number) as process:
        assert process.communicate(timeout=300) == ("farewell\n", "")
    assert process.returncode == status


def test_the_exit_status_is_right_even_if_the_farewell_fails():
    """For example because the terminal is closed."""
    with run("time.sleep(60)", signal.SIGHUP, before="signals.listen(lambda: 1 / 0)") as process:
        process.communicate(timeout=300)
    assert process.returncode == 129


def test_a_process_that_does_not_respond_is_ended_by_a_thread():
    """A hold that never ends imitates a library that blocks the main thread."""
    start = time.monotonic()
    with run("while True: time.sleep(60)", signal.SIGTERM, before="signals.hold_batches()") as process:
        assert process.communicate(timeout=300)[0] == "farewell\n"
    assert process.returncode == 143
    assert time.monotonic() - start > signals.PATIENCE  # it had time to respond


def test_an_ignored_signal_stays_ignored():
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        signals.listen(lambda: None)
        os.kill(os.getpid(), signal.SIGHUP)
        assert not signals.asked()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        stop_listening()
        signal.signal(signal.SIGHUP, before)
