"""TensorBoard in a browser."""

import re
import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")


@contextmanager
def tensorboard(folder):
    """Its address."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            yield next(found[0] for line in process.stderr if (found := re.search(r"http://\S+", line)))
        finally:
            process.terminate()


def page(address, profile):
    """The page's text and tags, once it has loaded its data."""
    options = [*FLAGS, f"--user-data-dir={profile}", "--virtual-time-budget=20000", "--dump-dom"]
    done = subprocess.run([CHROMIUM, *options, address], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")
def test_tensorboard_shows_what_a_run_logs(fit, tmp_path):
    fit(tmp_path / "logs/cgan_embed20/seed-0", "experiment=cgan_embed20")
    with tensorboard(tmp_path / "logs") as address:
        shown = page(f"{address}#timeseries", tmp_path / "profile")
    groups = re.findall(r'class="group-title[^>]*>\s*(?:<[^>]*>\s*)*([\w ]+?)\s*<', shown)
    expected = ["losses", "pictures", "quality", "run", "test"]
    assert [group for group in groups if group != "Pinned"][:5] == expected, groups
    assert "cgan_embed20/seed-0" in shown
