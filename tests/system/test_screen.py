"""What a command shows while it works."""

import io
import logging
import sys

import pytest

from mnist_gen.system import screen
from mnist_gen.system.screen import RESULT, Bar, Lines, Narrow, Plain, be_quiet, counted


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def shown(monkeypatch):
    """What the root logger writes as lines; Hydra sets it up like this."""
    stream, root = io.StringIO(), logging.getLogger()
    handler = Lines(stream)
    handler.setFormatter(Plain())
    monkeypatch.setattr(root, "handlers", [handler])
    monkeypatch.setattr(root, "level", logging.INFO)
    return stream


def test_hydras_lines_fit_the_screen():
    record = logging.makeLogRecord({"msg": "\t#0 : %s", "args": (" ".join(f"model.size={n}" for n in range(20)),)})
    line = Narrow("%(message)s").format(record)
    assert len(line) == 80
    assert line.startswith("#0 : model.size=0 model.size=1 ")
    assert line.endswith("...")
    for message in ("#0 : seed=1", f"Best parameters: {'x' * 90}"):
        assert Narrow("%(message)s").format(logging.makeLogRecord({"msg": message})) == message


@pytest.fixture
def clock(monkeypatch):
    """`clock(seconds)` lets time pass."""
    now = [0.0]
    monkeypatch.setattr(screen.time, "monotonic", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    return wait


def test_only_warnings_say_what_they_are(shown):
    for level in (logging.INFO, logging.WARNING, logging.ERROR):
        logging.getLogger("x").log(level, "%d images", 3)
    assert shown.getvalue() == "3 images\nwarning: 3 images\nerror: 3 images\n"


def test_without_a_terminal_a_bar_is_a_line_every_ten_seconds(shown, clock):
    bar, asked = Bar("training", 2000, "batch", done=1000), []
    for _ in range(9):
        clock(3)
        bar.advance(lambda: asked.append(1) or "loss 0.5")
    bar.close()
    assert shown.getvalue().splitlines() == [
        "training: batch 1,004 of 2,000  loss 0.5  49:48 left",
        "training: batch 1,008 of 2,000  loss 0.5  49:36 left",
    ]
    assert len(asked) == 2


def test_a_line_waits_if_something_else_was_said(shown, clock):
    bar = Bar("training", 10, "batch")
    clock(9)
    bar.said()
    clock(9)
    bar.advance()
    assert shown.getvalue() == ""
    clock(1)
    bar.advance()
    assert shown.getvalue() == "training: batch 2 of 10  00:08 left\n"


def test_on_a_terminal_a_bar_fits_80_columns(shown, clock, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    bar = Bar("training", 42_900, "batch", done=999)
    for _ in range(3):
        clock(1)
        bar.advance(lambda: "loss_d 0.671  loss_g 0.774")
    frames = [frame.strip() for frame in sys.stderr.getvalue().split("\r")]
    assert max(map(len, frames)) <= 80
    assert frames[-1].startswith("training  loss_d 0.671  loss_g 0.774   2 % |")
    assert " batch/s, " in frames[-1]
    assert shown.getvalue() == ""
    bar.close()
    assert sys.stderr.getvalue().endswith("\r")  # the bar is gone


def test_quiet_shows_warnings_only(shown, clock, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    be_quiet()
    bar = Bar("training", 10, "batch")
    clock(20)
    bar.advance()
    logging.getLogger("x").info("nothing")
    logging.getLogger("x").warning("something")
    logging.getLogger("x").log(RESULT, "a result")
    assert sys.stderr.getvalue() == ""
    assert shown.getvalue() == "warning: something\na result\n"


def test_counted_items_are_all_there(shown, clock):
    found = []
    for item in counted("abc", "test", "letter"):
        found.append(item)
        clock(6)
    assert found == ["a", "b", "c"]
    assert shown.getvalue() == "test: letter 2 of 3  00:06 left\n"
