"""README and docs show what the records say."""

import json
import re

import pytest

from benchmarks import record, tables
from tests.conftest import EXPERIMENTS, ROOT

RECORDS = tables.read()


@pytest.mark.parametrize("page", tables.PAGES, ids=lambda page: page.name)
def test_tables_are_made_from_the_records(page):
    text = page.read_text()
    assert tables.filled(text, RECORDS) == text, "run `python -m benchmarks.record`"


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


@pytest.fixture
def run(tmp_path):
    """A complete run's folder, as far as records read it."""

    def make(name="run", commit="abc1234", words=("experiment=gan", "seed=1", "root=/here", "hydra.run.dir=/there")):
        folder = tmp_path / name
        (folder / ".hydra").mkdir(parents=True)
        (folder / ".hydra/overrides.yaml").write_text("".join(f"- {word}\n" for word in words))
        (folder / "answer.md").write_text("Yes.\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n")
        kept = {"processor": "P", "cores": 2, "versions": {"torch": "2"}, "commit": commit, "seed": 1}
        measured = {"finished": "2026-11-29T05:16:04+00:00", "seconds": {"fit": 1.0}, "metrics": {"test/fid": 0.5}}
        (folder / "metrics.json").write_text(json.dumps(kept | measured | {"config": {}}))
        return folder

    return make


def test_a_run_is_recorded_without_paths(run):
    ((name, entry),) = record.runs(run())
    assert name == "gan"
    assert entry["command"] == "python train.py experiment=gan seed=1"
    assert entry["date"] == "2026-11-29"
    assert entry["metrics"] == {"test/fid": 0.5}
    assert entry["tables"] == {"answer": [["| a | b |", "| --- | --- |", "| 1 | 2 |"]]}


def test_a_sweep_is_recorded_with_its_runs(run, tmp_path):
    run("sizes/one")
    run("sizes/two", words=("experiment=gan", "seed=2"))
    words = "- experiment=gan\n- seed=1,2\n".replace("-", "      -")
    (tmp_path / "sizes/multirun.yaml").write_text(f"hydra:\n  overrides:\n    task:\n{words}")
    entry = record.sweep([tmp_path / "sizes"])
    assert entry["command"] == ["python train.py -m experiment=gan seed=1,2"]
    assert entry["processor"] == "P"
    assert [job["command"].rpartition(" ")[2] for job in entry["runs"]] == ["seed=1", "seed=2"]
    assert all("processor" not in job for job in entry["runs"])


def test_only_complete_runs_of_committed_code_are_recorded(run, tmp_path):
    with pytest.raises(SystemExit, match="measured with changes that are not committed"):
        record.runs(run(commit="abc1234-dirty"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit, match="empty: no complete run"):
        record.runs(tmp_path / "empty")


OF_RUNS = {name: entries for name, entries in RECORDS.items() if name != "speed"}


@pytest.mark.parametrize(("name", "entries"), OF_RUNS.items(), ids=list(OF_RUNS))
def test_records_say_how_they_were_measured(name, entries):
    assert name in EXPERIMENTS or name.startswith("sweeps/")
    for entry in entries:
        commands = [entry["command"]] if isinstance(entry["command"], str) else entry["command"]
        assert commands
        assert all(command.startswith("python train.py ") for command in commands)
        assert not any("=/" in command for command in commands)  # a path of one machine
        assert name.startswith("sweeps/") or commands[0].split()[2] == f"experiment={name}"
        assert all(entry[key] for key in ("processor", "date", "versions"))
        assert entry.get("metrics") or entry["tables"]
        assert entry.get("rounded") or (entry["cores"] and re.fullmatch(r"[0-9a-f]{7,}", entry["commit"]))


def test_speed_is_of_committed_code():
    for entry in RECORDS["speed"]:
        assert entry["command"] == f"python -m benchmarks.speed {entry['section']}"
        assert re.fullmatch(r"[0-9a-f]{7,}", entry["commit"])
        assert entry["metrics"]


def test_no_run_is_recorded_twice():
    for entries in RECORDS.values():
        assert len({(str(entry["command"]), entry["processor"]) for entry in entries}) == len(entries)


def test_every_experiment_with_test_metrics_is_in_a_table():
    shown = {experiment for family in tables.FAMILIES.values() for experiment in family.experiments}
    assert shown <= {*EXPERIMENTS}
    assert {*EXPERIMENTS} - shown == {"interpolation", "comparison"}  # their tables are on their page
