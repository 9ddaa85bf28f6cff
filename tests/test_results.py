"""README and docs show what the records say."""

import re

import pytest

from benchmarks import tables
from tests.conftest import EXPERIMENTS, ROOT

RECORDS = tables.read()


@pytest.mark.parametrize("page", tables.PAGES)
def test_tables_are_made_from_the_records(page):
    text = (ROOT / page).read_text()
    assert tables.filled(text, RECORDS) == text, "run `python benchmarks/record.py`"


def test_pages_quote_the_records():
    for page, sentences in tables.quotes(RECORDS).items():
        text = " ".join((ROOT / page).read_text().split())
        for sentence in sentences:
            assert sentence in text


def test_a_table_that_differs_is_found():
    page = "<!-- table: autoencoders -->\nold\n<!-- end -->\n"
    assert "| `autoencoder` |" in tables.filled(page, RECORDS)
    with pytest.raises(KeyError):
        tables.filled("<!-- table: unknown -->\n<!-- end -->", RECORDS)


def test_every_marked_page_is_written():
    marked = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
        if "<!-- table:" in path.read_text()
    }
    assert marked <= {*tables.PAGES}


@pytest.mark.parametrize(("name", "entries"), RECORDS.items(), ids=list(RECORDS))
def test_records_say_how_they_were_measured(name, entries):
    assert name in EXPERIMENTS or name.startswith("sweeps/")
    for entry in entries:
        commands = [entry["command"]] if isinstance(entry["command"], str) else entry["command"]
        assert commands
        assert all(command.startswith("python train.py ") for command in commands)
        assert not any("=/" in command for command in commands)  # a path of one machine
        assert name.startswith("sweeps/") or commands[0].split()[2] == f"experiment={name}"
        assert isinstance(entry["seed"], int)
        assert all(entry[key] for key in ("processor", "cores", "date", "versions"))
        assert entry["metrics"] or entry["tables"]
        assert entry.get("rounded") or re.fullmatch(r"[0-9a-f]{7,}", entry["commit"])


def test_no_run_is_recorded_twice():
    for entries in RECORDS.values():
        assert len({(str(entry["command"]), entry["processor"]) for entry in entries}) == len(entries)


def test_every_experiment_with_test_metrics_is_in_a_table():
    shown = {experiment for family in tables.FAMILIES.values() for experiment in family.experiments}
    assert shown <= {*EXPERIMENTS}
    assert {*EXPERIMENTS} - shown == {"interpolation", "comparison"}  # their tables are on their page
