import csv
import json
import re
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from mnist_gen.errors import Refused
from mnist_gen.evaluation import sweeps
from mnist_gen.evaluation.sweeps import Summary, summarise
from mnist_gen.runs import folders
from mnist_gen.runs.naming import Folders
from tests.conftest import CONF, ROOT

UNBALANCED = "data.labels=25: balancing needs a multiple of 10, or data.balanced=false."


def job(folder, overrides, metrics, score=None, mode="min"):
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra/overrides.yaml").write_text("\n".join(f"- {word}" for word in overrides))
    if metrics is not None:
        config = {"seed": 0, "callbacks": {"best": {"monitor": "val/x", "mode": mode}}}
        record = {"config": config, "metrics": metrics, "seconds": {"fit": 50.0, "test": 10.0}, "objective": score}
        (folder / "metrics.json").write_text(json.dumps(record))


def test_summary_orders_by_number_and_marks_failures(tmp_path):
    for dim, fid in ((20, 0.5), (5, 0.75), (100, None)):
        metrics = None if fid is None else {"test/fid": fid, "test/class_accuracy_3": 1.0}
        job(tmp_path / f"dim-{dim}", ["experiment=x", f"model.embedding_dim={dim}"], metrics)
    job(tmp_path / "seed-1", ["experiment=x", "seed=1"], {"test/fid": 9.0})  # another sweep's
    summarise(tmp_path, ["model.embedding_dim"], ["experiment"])
    with (tmp_path / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["model.embedding_dim"] for row in rows] == ["5", "20", "100"]
    assert [row["status"] for row in rows] == ["complete", "complete", "failed"]
    assert [row["test/fid"] for row in rows] == ["0.75", "0.5", ""]
    assert [row["seconds"] for row in rows] == ["60.0", "60.0", ""]
    assert (tmp_path / "summary.md").read_text().splitlines()[2] == "| 5 | complete | 0.7500 |"
    assert (tmp_path / "summary.png").stat().st_size > 1000


@pytest.mark.parametrize(("mode", "best"), [("min", "0.2500, with model.r1=2."), ("max", "0.5000, with model.r1=1.")])
def test_summary_names_the_best_validation_score(tmp_path, mode, best):
    for r1, score in ((1, 0.5), (2, 0.25), (3, None)):
        job(tmp_path / str(r1), ["experiment=x", f"model.r1={r1}"], {"test/fid": 1.0}, score, mode)
    summarise(tmp_path, ["model.r1"], ["experiment"])
    assert f"Best val/x: {best}" in (tmp_path / "summary.md").read_text().splitlines()


def test_summary_over_two_keys_marks_an_unfinished_job(tmp_path):
    job(tmp_path / "a", ["experiment=x", "model/loss=bce", "model.r1=1"], {"test/fid": 1.0})
    job(tmp_path / "b", ["experiment=x", "model/loss=bce", "model.r1=0"], None)
    (tmp_path / "b/checkpoints").mkdir()
    (tmp_path / "b/checkpoints/last.ckpt").touch()
    summarise(tmp_path, ["model/loss", "model.r1"], ["experiment"])
    lines = (tmp_path / "summary.md").read_text().splitlines()
    assert lines[2:] == ["| bce | 0 | unfinished |  |", "| bce | 1 | complete | 1.0000 |", "", "Total time: 1 minutes."]


def test_summary_takes_seeds_together(tmp_path):
    fids = {("bce", 0): 1.0, ("bce", 1): 2.0, ("hinge", 0): 4.0, ("hinge", 1): None}
    for (loss, seed), fid in fids.items():
        metrics = None if fid is None else {"test/fid": fid, "test/class_accuracy_3": fid / 4}
        job(tmp_path / f"{loss}-{seed}", ["experiment=x", f"seed={seed}", f"model/loss={loss}"], metrics)
    summarise(tmp_path, ["seed", "model/loss"], ["experiment"])
    with (tmp_path / "summary.csv").open() as file:
        assert [(row["model/loss"], row["seed"]) for row in csv.DictReader(file)] == [
            ("bce", "0"), ("bce", "1"), ("hinge", "0"), ("hinge", "1")
        ]  # fmt: skip
    lines = (tmp_path / "summary.md").read_text().splitlines()
    assert lines[2:4] == ["| bce | 2 of 2 seeds | 1.5000 ± 0.7071 |", "| hinge | 1 of 2 seeds | 4.0000 |"]
    assert lines[5] == "Class accuracy by digit:"
    assert lines[7:-2] == ["| loss | 3 |", "| --- | --- |", "| bce | 0.3750 ± 0.1768 |", "| hinge | 1.0000 |"]


def test_summary_over_seeds_alone_has_their_mean_and_each(tmp_path):
    for seed, accuracy in ((0, 0.5), (1, 0.75)):
        job(tmp_path / str(seed), ["experiment=x", f"data.labels_seed={seed}"], {"test/accuracy": accuracy})
    summarise(tmp_path, ["data.labels_seed"], ["experiment"])
    lines = (tmp_path / "summary.md").read_text().splitlines()
    assert lines[2] == "| 2 of 2 seeds | 0.6250 ± 0.1768 |"
    assert lines[6:-2] == ["| 0 | 0.5000 |", "| 1 | 0.7500 |"]


def test_summary_has_the_metrics_of_your_own_models(tmp_path):
    for width, accuracy in ((8, 0.5), (16, 0.75)):
        job(tmp_path / str(width), ["experiment=x", f"model.width={width}"], {"test/acc": accuracy, "run/epochs": 1.0})
    summarise(tmp_path, ["model.width"], ["experiment"])
    lines = (tmp_path / "summary.md").read_text().splitlines()
    assert lines[:4] == ["| width | acc |", "| --- | --- |", "| 8 | 0.5000 |", "| 16 | 0.7500 |"]
    assert (tmp_path / "summary.png").exists()


def test_summary_of_a_single_job_has_nothing_to_draw(tmp_path):
    job(tmp_path, ["experiment=x"], {"test/fid": 1.0})
    summarise(tmp_path, [], ["experiment"])
    assert (tmp_path / "summary.md").read_text().splitlines()[2:-2] == ["| 1.0000 |"]
    assert not (tmp_path / "summary.png").exists()


@pytest.fixture(scope="module")
def sweep(tmp_path_factory, command):
    """A real sweep in which one of three jobs fails, and the same command again after one job lost its end."""
    root = tmp_path_factory.mktemp("root")
    (root / "conf").symlink_to(CONF)
    words = ["experiment=transfer_linear_scratch", "data.labels=10,25,20", "data.labels_seed=0", "data.watched=30"]
    words += ["trainer.max_epochs=1", "trainer.limit_test_batches=1", "data.folds=0", "model.views=1"]
    words += [f"root={root}", "data.root=data"]
    first = command("-m", *words)
    (folder,) = (root / "outputs/sweeps").iterdir()
    complete = {path.parent.name for path in folder.rglob("metrics.json")}
    (folder / "labels-20/metrics.json").rename(folder / "kept.json")
    return folder, first, complete, command("-m", *words)


def test_sweep_reports_a_failing_job_and_goes_on(sweep):
    folder, first, complete, _ = sweep
    assert first.returncode == 1
    errors = [line for line in first.stderr.splitlines() if line.startswith("error")]
    assert errors == [f"error: {UNBALANCED}"]
    assert complete == {"labels-10", "labels-20"}
    assert re.fullmatch(r"transfer_linear_scratch_labels_[0-9a-f]{6}", folder.name)
    assert " -m experiment=transfer_linear_scratch data.labels=10,25,20 " in (folder / "command.txt").read_text()
    with (folder / "summary.csv").open() as file:
        rows = [(row["data.labels"], row["status"]) for row in csv.DictReader(file)]
    assert rows == [("10", "complete"), ("20", "complete"), ("25", "failed")]
    assert (folder / "summary.png").exists()
    assert f"| 25 | {UNBALANCED} |" in (folder / "summary.md").read_text()
    assert f"error: {UNBALANCED}" in (folder / "labels-25/train.log").read_text()


def test_sweep_started_again_skips_complete_jobs_and_completes_the_others(sweep):
    folder, once, _, again = sweep
    assert again.returncode == 1
    assert again.stdout.count("is complete: nothing to do") == 1
    first, second = (json.loads(path.read_text()) for path in (folder / "kept.json", folder / "labels-20/metrics.json"))
    assert second["metrics"] == first["metrics"]
    assert "epoch 1/1 " in once.stdout
    assert "epoch 1/1 " not in again.stdout  # nothing was left to do but to measure


def test_experiments_are_swept_too_and_take_keys_that_only_they_have(tmp_path, command):
    words = ["experiment=glob(transfer_*_frozen)", "data.labels=25", "data.labels_seed=0", "pretrained.folder=x"]
    (tmp_path / "conf").symlink_to(CONF)
    done = command("-m", *words, f"root={tmp_path}", f"data.root={ROOT / 'data'}")
    assert done.stderr.splitlines()[:2] == [f"error: {UNBALANCED}"] * 2
    (folder,) = (tmp_path / "outputs/sweeps").iterdir()
    assert done.stderr.splitlines()[2:] == [f"Failed jobs: 2; see {folder}/summary.md."]
    assert folder.name.startswith("glob-transfer_-_frozen_")
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {
        "transfer_linear_frozen", "transfer_mlp_frozen"
    }  # fmt: skip
    assert (folder / "summary.md").read_text().splitlines()[2:-2] == [
        "| transfer_linear_frozen | failed |",
        "| transfer_mlp_frozen | failed |",
        "",
        "Failed jobs:",
        "",
        "| experiment | error |",
        "| --- | --- |",
        f"| transfer_linear_frozen | {UNBALANCED} |",
        f"| transfer_mlp_frozen | {UNBALANCED} |",
    ]


def run_folder(folder, *words) -> str:
    """Where a run goes whose configuration says `folder`, as the first in its process."""
    HydraConfig.instance().cfg = None
    with initialize_config_dir(CONF, version_base="1.3"):
        cfg = compose("train", overrides=["experiment=gan", *words], return_hydra_config=True)
    if words == ():
        cfg.hydra.run.dir = f"{folder}/${{hydra:runtime.choices.experiment}}"
    try:
        Folders().on_run_start(cfg)
        folders.keep_folder()
    finally:
        folders.close_folder()
    return cfg.hydra.run.dir


def test_two_runs_of_the_same_second_have_a_folder_each(tmp_path):
    now = tmp_path / "gan"
    assert [run_folder(tmp_path) for _ in range(3)] == [str(now), f"{now}-2", f"{now}-3"]
    for sign in ("", "++"):
        assert run_folder(tmp_path, f"{sign}hydra.run.dir={now}") == str(now)  # named: the same run goes on there
    assert run_folder(tmp_path, "task=sample") == "."  # it has no folder of its own
    assert run_folder(tmp_path, f"ckpt={now}/checkpoints/last.ckpt") == str(now)
    (tmp_path / "file").touch()
    with pytest.raises(Refused, match=f"{tmp_path}/file/gan: .*hydra.run.dir=<folder>"):
        run_folder(tmp_path / "file")


def test_jobs_that_end_during_a_summary_do_not_wait_but_are_in_it(tmp_path, monkeypatch):
    hydra = SimpleNamespace(mode=RunMode.MULTIRUN, sweep=SimpleNamespace(dir=str(tmp_path)))
    config, summary, ended = SimpleNamespace(hydra=hydra), Summary(), [0]
    summary.swept = summary.fixed = []
    seen = []

    def write(*_):
        seen.append(len(ended))
        if len(ended) < 3:
            ended.append(len(ended))
            summary.on_job_end(config, None)  # of another job
        return []  # no means over seeds

    monkeypatch.setattr(sweeps, "summarise", write)
    summary.on_job_end(config, None)
    assert seen == [1, 2, 3]
    summary.on_job_end(config, None)
    assert seen == [1, 2, 3, 3]
