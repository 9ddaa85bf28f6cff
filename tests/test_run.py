"""Whole runs of a tiny model: what they leave, how they go on, what they say."""

import json
import os
import signal

import numpy as np
import pytest
import torch
from hydra.errors import InstantiationException

from mnist_gen.data import mnist
from mnist_gen.errors import Interrupted, UserError
from mnist_gen.evaluation import results
from mnist_gen.evaluation.dashboard import tag_of
from mnist_gen.evaluation.scorer import load_scorer
from mnist_gen.gan import GAN
from mnist_gen.gan.callbacks import DrawSamples
from mnist_gen.runs.config import one_line
from mnist_gen.training import checkpoints, trainer
from tests.conftest import TINY, events, kept, recorded, same_weights
from tests.interruptions import listening

MAIN = "experiment=cgan_embed20"


@pytest.fixture
def at_batch(monkeypatch):
    """`at_batch(n, action)`: later runs do `action` once n batches are done."""

    def arrange(batch, action) -> None:
        class WithAction(checkpoints.EmbedConfig):
            def on_train_batch_start(self, trainer, module, data, batch_idx) -> None:
                if trainer.global_step == 2 * batch:
                    action()

        monkeypatch.setattr(trainer, "EmbedConfig", WithAction)

    return arrange


def test_what_a_run_leaves(fit, tmp_path):
    folder = tmp_path / "run"
    objective = fit(folder, MAIN, "trainer.max_epochs=3", "callbacks.draw.at_epochs=[1,3]")
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt", "previous.ckpt"}
    assert {path.name for path in (folder / "figures").iterdir()} == {
        "digit_3.png", "digit_3_epochs.png", "digits.png", "epochs.png", "grid.png", "grid_epoch_001.png",
        "grid_epoch_003.png", "losses.png", "requested.png",
    }  # fmt: skip
    record = recorded(folder)
    assert record["objective"] == objective
    assert record["seed"] == 0
    assert record["config"]["model"]["embedding_dim"] == 20
    assert {"commit", "versions", "processor", "cores", "threads", "seconds"} <= record.keys()
    names = {"class_accuracy", "worst_class", "fid", "density", "coverage", "diversity", "memorised"}
    for group in ("test", "floor"):
        assert {f"{group}/{name}" for name in names} <= record["metrics"].keys()

    log = events(folder)
    for tag in ("train/loss_d", "train/loss_g"):
        assert [event.step for event in log.Scalars(tag_of(tag))] == list(range(1, 10))  # batches
    assert [event.step for event in log.Scalars("quality/fid")] == [3, 6, 9]
    assert sorted(event.step for event in log.Images("pictures/grid")) == [3, 9, 9]  # of two files, in any order
    fids = [event.value for event in log.Scalars("quality/fid")]
    assert kept(folder, "best")["epoch"] == int(np.argmin(fids))
    assert objective == pytest.approx(min(fids), rel=1e-5)
    hparams = log.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"embedding_dim" in hparams
    assert "_hparams_/experiment" not in log.summary_metadata  # the keys of one run would stand for those of all
    assert log.Scalars("test/fid")[-1].value == pytest.approx(record["metrics"]["test/fid"])
    assert "hp_metric" not in log.Tags()["scalars"]


def test_unconditional_run(fit, tmp_path):
    fit(tmp_path / "run", "experiment=gan_plain", "trainer.max_epochs=1")
    record = recorded(tmp_path / "run")["metrics"]
    assert "test/rarest_digit" in record
    assert "test/class_accuracy" not in record


def test_one_seed_governs_everything(fit, made, tmp_path):
    made(tmp_path / "a", MAIN, "trainer.max_epochs=1")
    for name, seed in (("b", 0), ("c", 1)):
        fit(tmp_path / name, MAIN, f"seed={seed}", "trainer.max_epochs=1")
    a, b, c = (recorded(tmp_path / name)["metrics"] for name in "abc")
    assert a == b
    assert a["test/fid"] != c["test/fid"]


def test_an_interrupted_run_goes_on_to_the_same_end(fit, made, tmp_path, at_batch):
    options = (MAIN, "trainer.max_epochs=3", "callbacks.draw.at_epochs=[1,3]")
    whole = made(tmp_path / "whole", *options)
    for stop, steps in ((3, 6), (4, 6), (5, 10)):  # three batches an epoch: in its last, between two, and inside one
        stopped = tmp_path / f"stopped_{stop}"
        at_batch(stop - 1, lambda: os.kill(os.getpid(), signal.SIGINT))
        with listening(), pytest.raises(Interrupted):
            fit(stopped, *options)
        at_batch(-1, lambda: None)
        assert not (stopped / "metrics.json").exists()
        assert kept(stopped)["global_step"] == steps
        assert not list(stopped.rglob("*.part"))
        fit(stopped, f"ckpt={stopped / 'checkpoints/last.ckpt'}")
        for name in ("last", "best"):
            assert same_weights(whole, stopped, name), (stop, name)
        assert kept(whole)["callbacks"]["Curves"] == kept(stopped)["callbacks"]["Curves"]
        history = kept(whole)["callbacks"]["Curves"]["history"]
        assert all([epoch for epoch, _ in history[name]] == [1, 2, 3] for name in ("train/loss_g", "val/fid"))
        assert json.loads((stopped / "history.json").read_text()) == json.loads((whole / "history.json").read_text())
        assert recorded(stopped)["metrics"] == recorded(whole)["metrics"]
        assert recorded(stopped)["objective"] == recorded(whole)["objective"]


def test_a_killed_run_goes_on_from_its_last_epoch(fit, made, tmp_path, at_batch):
    options = (MAIN, "trainer.max_epochs=3", "callbacks.draw.at_epochs=[1,3]")
    whole, killed = made(tmp_path / "whole", *options), tmp_path / "killed"
    at_batch(4, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fit(killed, *options)
    at_batch(-1, lambda: None)
    fit(killed, *options)  # the same command in the same folder, as a sweep does
    assert same_weights(whole, killed)
    assert recorded(killed)["metrics"] == recorded(whole)["metrics"]


def test_a_longer_run_goes_on_from_a_finished_one(fit, made, tmp_path):
    folder = made(tmp_path / "run", MAIN, "trainer.max_epochs=1")
    fit(folder, f"ckpt={folder / 'checkpoints/last.ckpt'}", "trainer.max_epochs=2")
    assert recorded(folder)["config"]["trainer"]["max_epochs"] == 2
    assert kept(folder)["epoch"] == 1


def test_a_complete_run_is_left_alone(fit, made, tmp_path):
    folder = made(tmp_path / "run", MAIN, "trainer.max_epochs=1")
    before = (folder / "metrics.json").stat().st_mtime_ns
    assert fit(folder, MAIN, "trainer.max_epochs=1") == recorded(folder)["objective"]
    assert (folder / "metrics.json").stat().st_mtime_ns == before
    with pytest.raises(UserError, match=r"holds a run with another model.embedding_dim"):
        fit(folder, MAIN, "trainer.max_epochs=1", "model.embedding_dim=5")


def test_not_a_number_keeps_the_last_good_checkpoint(fit, tmp_path, at_batch, monkeypatch):
    def spoil() -> None:
        monkeypatch.setattr(GAN, "_latents", lambda self, count: torch.full((count, 32), torch.nan))

    at_batch(4, spoil)
    with pytest.raises(UserError, match="became nan at epoch 2, step 4:"):
        fit(tmp_path / "run", MAIN)
    last = kept(tmp_path / "run")
    assert last["global_step"] == 6
    assert all(value.isfinite().all() for value in last["state_dict"].values())


def test_test_repeats_the_runs_metrics(fit, made, tmp_path):
    folder = made(tmp_path / "run", MAIN, "trainer.max_epochs=1")
    again = ("task=test", f"ckpt={folder / 'checkpoints/best.ckpt'}")
    fit(tmp_path / "again", *again, task="test")
    assert recorded(tmp_path / "again")["metrics"] == recorded(folder)["metrics"]
    fit(tmp_path / "otherwise", *again, "callbacks.metrics.test_samples=30", task="test")
    assert recorded(tmp_path / "otherwise")["config"]["callbacks"]["metrics"]["test_samples"] == 30
    with pytest.raises(UserError, match="callbacks.metrics.extra: the run of ckpt=.* has no such option"):
        fit(tmp_path / "none", *again, "++callbacks.metrics.extra=1", task="test")


def test_a_gpus_checkpoint_is_tested_on_a_cpu(fit, made, tmp_path):
    folder = made(tmp_path / "run", MAIN, "trainer.max_epochs=1")
    content = kept(folder, "best")
    content["config"]["trainer"]["accelerator"] = "gpu"
    torch.save(content, tmp_path / "gpu.ckpt")
    fit(tmp_path / "again", "task=test", f"ckpt={tmp_path / 'gpu.ckpt'}", task="test")
    assert recorded(tmp_path / "again")["metrics"] == recorded(folder)["metrics"]


def test_another_machine_is_not_another_run(fit, made, tmp_path):
    folder = made(tmp_path / "run", MAIN)
    assert fit(folder, f"ckpt={folder / 'checkpoints/last.ckpt'}", "trainer=cpu") == recorded(folder)["objective"]
    assert recorded(folder)["config"]["trainer"]["max_epochs"] == 2


def test_a_moved_run_remembers_its_best(fit, made, tmp_path):
    made(tmp_path / "run", MAIN)
    best = kept(tmp_path / "run", "best")["callbacks"]["BestCheckpoint"]["score"]
    (tmp_path / "run").rename(tmp_path / "moved")
    fit(tmp_path / "moved", f"ckpt={tmp_path / 'moved/checkpoints/last.ckpt'}", "trainer.max_epochs=3")
    assert kept(tmp_path / "moved")["callbacks"]["BestCheckpoint"]["score"] <= best


def test_a_set_without_a_scorer_is_trained_and_not_judged(fit, tmp_path, monkeypatch, caplog):
    tiny = type("KMNIST", (mnist.DATASETS["MNIST"],), {})
    monkeypatch.setitem(mnist.DATASETS, "KMNIST", tiny)
    (tmp_path / "data/MNIST").rename(tmp_path / "data/KMNIST")
    fit(tmp_path / "run", MAIN, "data=kmnist", f"data.root={tmp_path / 'data'}", f"data.cache={tmp_path / 'cache'}")
    assert [record.message for record in caplog.records if "No metrics of samples" in record.message] == [
        "No metrics of samples: there is no scorer for KMNIST (experiment=scorer trains one)."
    ]
    assert recorded(tmp_path / "run")["objective"] is None
    assert (tmp_path / "run/figures/grid.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model.embedding_dim=0", "data.root=/nowhere"], "embedding_dim=0: must be a whole number from 1 to 4096."),
        (["callbacks.draw.at_epochs=[20%,101%]"], "at_epochs=['20%', '101%']: must be a list, each"),
        (["callbacks.draw.at_epochs=[0]"], "callbacks.draw.at_epochs=[0]: must be a list, each"),
        (["callbacks.draw.at_epochs=20"], "at_epochs=20: must be a list, each a whole number"),
        (["+logger.mine._target_=mnist_gen.nothing"], "logger.mine: Error locating target 'mnist_gen.nothing'"),
        (["callbacks.draw.at_epochs=[1,7]"], "at_epochs=[7]: the run ends at epoch 2"),
        (["data.batch_size=241"], "data.batch_size=241 is larger than the training set"),
    ],
)
def test_impossible_settings_are_refused_before_training(fit, tmp_path, words, message):
    with pytest.raises((UserError, InstantiationException)) as error:
        fit(tmp_path / "run", MAIN, *words)
    assert message in one_line(error.value)
    assert not (tmp_path / "run/checkpoints").exists()


def test_scorer_is_trained_exported_and_used(fit, tmp_path):
    few = [word for word in TINY if word.startswith(("trainer.", "data."))]
    fit(tmp_path / "run", "experiment=scorer", *few, tiny=False)
    path = tmp_path / "run/scorer.safetensors"
    assert load_scorer(str(path), "MNIST").head.out_features == 10
    for tag, steps in (("train/loss", [1, 2, 3, 4, 5, 6]), ("val/accuracy", [3, 6])):
        assert [event.step for event in events(tmp_path / "run").Scalars(tag_of(tag))] == steps
    assert 0 <= recorded(tmp_path / "run")["metrics"]["test/accuracy"] <= 1
    with pytest.raises(UserError, match="ends after 6 batches and cannot be changed to 9"):  # its schedule
        fit(tmp_path / "run", f"ckpt={tmp_path / 'run/checkpoints/last.ckpt'}", "trainer.max_epochs=3")
    fit(tmp_path / "gan", MAIN, f"scorer={path}", "trainer.max_epochs=1")


@pytest.mark.parametrize(
    ("at_epochs", "length", "drawn"),
    [
        (None, 130, [1, 2, 5, 10, 20, 50, 100, 130]),  # round epochs, and the last
        ([3, "20%", "25%", "100%"], 40, [3, 8, 10, 40]),
        ([3, "20%", "25%", "100%"], 3, [1, 3]),
    ],
)
def test_grids_are_drawn_at_epochs_or_shares_of_the_run(at_epochs, length, drawn):
    draw = DrawSamples(at_epochs, digit=3, seed=0)
    assert [epoch for epoch in range(1, length + 1) if draw.is_chosen(epoch, length)] == drawn


def test_gpu_asked_for_where_none_is(fit, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UserError, match="trainer: .*[Nn]o supported gpu"):
        fit(tmp_path / "run", MAIN, "trainer=gpu")  # as a resumed run may, whose command does not say so


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ({"test/coverage": 0.91, "test/worst_diversity": 0.98}, ""),
        ({"test/coverage": 0.003}, "The samples are a few pictures, coverage 0.003"),
        ({"test/worst_diversity": 0.1}, "All samples of a digit are one picture"),
    ],
)
def test_a_collapse_is_said_at_the_end(tmp_path, caplog, metrics, said):
    results.show(tmp_path, metrics)
    assert "".join(line.message for line in caplog.records) == (f"{said}." if said else "")
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/grid.png").touch()
    caplog.clear()
    results.show(tmp_path, metrics)
    assert "".join(line.message for line in caplog.records) == (f"{said}: see figures/grid.png." if said else "")


@pytest.mark.parametrize(
    ("experiment", "metric", "first"),
    [
        ("cgan_embed20", "ssim", "fid"),
        ("autoencoder", "accuracy", "loss"),
        ("mimic_learned", "loss", "relative_error"),
        ("transformer_classifier", "nothing", "accuracy"),
    ],
)
def test_a_metric_that_no_validation_measures_is_refused_before_data_are_loaded(
    fit, tmp_path, experiment, metric, first
):
    words = [f"experiment={experiment}", f"callbacks.best.monitor=val/{metric}", "data.root=/nowhere"]
    with pytest.raises(UserError, match=f"callbacks.best.monitor=val/{metric}: choose (one of )?val/{first}"):
        fit(tmp_path / "run", *words, tiny=False)
