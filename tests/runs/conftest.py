"""What several tests of runs start from."""

import sys

import pytest


@pytest.fixture
def typed(monkeypatch):
    """Messages name the command of a clone."""
    monkeypatch.setattr(sys, "argv", ["train.py"])
