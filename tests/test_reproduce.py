"""`benchmarks/reproduce.py`: which measurements there are, and how they are run, resumed, recorded and drawn."""

import json
import math
import shlex
from pathlib import Path

import pytest

from benchmarks import record, reproduce, tables
from mnist_gen.runs.command_line import check_arguments
from mnist_gen.runs.config import CONF
from mnist_gen.student_report.answer import needed_records
from tests.conftest import EXPERIMENTS, ROOT

KNOWN = reproduce.measurements()
NOT_MEASURED = ("architecture_", "dashboard_", "demo_")  # pictures in docs that show no measurement


def test_every_record_and_picture_has_a_measurement():
    written = set().union(*(each.records for each in KNOWN.values()))
    assert needed_records() <= written
    assert {*tables.read()} - {"speed"} <= written
    assert {name for name in written if not name.startswith("sweeps/")} <= {*EXPERIMENTS}
    drawn = [picture for each in KNOWN.values() for picture in each.pictures]
    assert len({*drawn}) == len(drawn)
    shown = {path.name for path in (ROOT / "docs").glob("*.png") if not path.name.startswith(NOT_MEASURED)}
    assert shown <= {*drawn}


@pytest.mark.parametrize("each", KNOWN.values(), ids=KNOWN)
def test_pictures_name_sweeps_and_jobs_that_there_are(each):
    for figure in each.pictures.values():
        sweep, job, *figures = figure.split("/")
        words = [word.partition("=")[2] for word in shlex.split(each.jobs[int(sweep)])]
        swept = [len(each.experiments) if word.startswith("glob(") else len(word.split(",")) for word in words]
        assert (figures[:1] == ["figures"] and int(job) < math.prod(swept)) or job.endswith(".png")


@pytest.mark.parametrize("each", KNOWN.values(), ids=KNOWN)
def test_jobs_are_accepted(each):
    for line in each.jobs:
        check_arguments(CONF, ("-m", *shlex.split(line)))


@pytest.fixture
def started(monkeypatch, tmp_path):
    """The commands that were started. Each sweep leaves one complete job and a summary; no page is written."""
    commands: list[tuple[str, ...]] = []

    def train(*words: str) -> int:
        commands.append(words)
        into = next((Path(word.partition("=")[2]) for word in words if word.startswith("hydra.sweep.dir=")), None)
        if into is not None:
            job = into / "0"
            (job / ".hydra").mkdir(parents=True, exist_ok=True)
            (job / ".hydra/overrides.yaml").write_text("- experiment=gan\n- seed=0\n")
            kept = {"processor": "P", "cores": 2, "versions": {"torch": "2"}, "commit": "abc1234", "seed": 0}
            measured = {"finished": "2026-11-29T05:16:04+00:00", "seconds": {"fit": 60.0}, "metrics": {"test/fid": 0.5}}
            (job / "metrics.json").write_text(json.dumps(kept | measured))
            (into / "multirun.yaml").write_text("hydra:\n  overrides:\n    task: [experiment=gan]\n")
            (into / "summary.md").write_text("| a |\n| --- |\n| 1 |\n")
            (into / "summary.png").write_bytes(b"drawn")
        return 0

    (tmp_path / "docs").mkdir()
    (tmp_path / "records").mkdir()
    monkeypatch.setattr(reproduce, "train", train)
    monkeypatch.setattr(reproduce, "commit", lambda: "abc1234")
    monkeypatch.setattr(reproduce, "ROOT", tmp_path)
    monkeypatch.setattr(record, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(record, "write_tables", lambda: None)
    return commands


SWEEP = reproduce.Measurement(
    "sweeps/two", ["experiment=gan seed=0", "experiment=gan"], True, False, {"a.png": "1/summary.png"}
)
NUMBERED = "hydra.sweep.subdir=${hydra.job.num}"
RUN = reproduce.Measurement("gans", ["'experiment=glob(gan)' seed=0"])


def test_measurements_are_run_recorded_and_drawn_and_complete_ones_skipped(started, tmp_path, capsys):
    into = tmp_path / "runs"
    assert reproduce._reproduce([SWEEP, RUN], into, parallel=True) == 0
    first, second = into / "sweeps/two/0", into / "sweeps/two/1"
    assert started == [
        ("-m", "experiment=gan", "seed=0", f"hydra.sweep.dir={first}", NUMBERED, "hydra/launcher=joblib"),
        ("-m", "experiment=gan", f"hydra.sweep.dir={second}", NUMBERED, "hydra/launcher=joblib"),
        ("task=claims", f"sweep=[{first},{second}]"),
        ("-m", "experiment=glob(gan)", "seed=0", f"hydra.sweep.dir={into}/gans/0", NUMBERED),
        ("task=answer",),
    ]
    (sweep,) = json.loads((tmp_path / "records/sweeps/two.json").read_text())
    assert sweep["command"] == ["python train.py -m experiment=gan"] * 2
    assert [*sweep["tables"]] == ["summary", "summary_1"]
    assert len(sweep["runs"]) == 2
    (run,) = json.loads((tmp_path / "records/gan.json").read_text())
    assert run["command"] == "python train.py experiment=gan"
    assert (tmp_path / "docs/a.png").read_bytes() == b"drawn"
    assert "2 of 2 measurements are recorded" in capsys.readouterr().out
    started.clear()
    assert reproduce._reproduce([SWEEP, RUN], into, parallel=False) == 0
    assert started == [("task=answer",)]


def test_a_failed_measurement_is_named_and_not_recorded(started, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reproduce, "train", lambda *words: int("-m" in words))
    assert reproduce._reproduce([RUN], tmp_path / "runs", parallel=False) == 1
    assert "Failed, run the same command again: gans" in capsys.readouterr().out
    assert not (tmp_path / "records/gan.json").exists()


def test_a_missing_figure_is_named(started, tmp_path, capsys):
    drawn = reproduce.Measurement("gans", ["experiment=gan"], pictures={"a.png": "0/0/figures/a.png"})
    assert reproduce._reproduce([drawn], tmp_path / "runs", parallel=False) == 1
    assert f"No such figure: {tmp_path}/runs/gans/0/0/figures/a.png" in capsys.readouterr().out
    assert (tmp_path / "records/gan.json").exists()


def test_uncommitted_changes_are_refused_before_anything_runs(started, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reproduce, "commit", lambda: "abc1234-dirty")
    assert reproduce._reproduce([RUN], tmp_path / "runs", parallel=False) == 1
    assert "commit them first" in capsys.readouterr().out
    assert started == []


def test_the_time_left_comes_from_records():
    records = {"sweeps/two": [{"runs": [{"seconds": {"fit": 100.0, "test": 20.0}}, {"seconds": {"fit": 60.0}}]}]}
    assert SWEEP.seconds(records) == 180.0
    assert RUN.seconds(records) == 0.0


def test_an_unknown_measurement_is_named(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["reproduce.py", "nothing"])
    with pytest.raises(SystemExit):
        reproduce.main()
    assert "nothing: choose from all, autoencoders, " in capsys.readouterr().err
