"""Each logger gets curves, results and, where it can hold them, pictures."""

import csv

import pytest
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.loggers.logger import DummyExperiment

from mnist_gen.errors import UserError
from mnist_gen.runs.loggers import ending
from mnist_gen.system.screen import RESULT
from tests.conftest import TINY, recorded


class Notes(Logger):
    """A logger that remembers, with pictures."""

    def __init__(self):
        super().__init__()
        self.metrics, self.images, self.settings, self.ends = {}, [], {}, []
        Notes.last = self

    name, version = "notes", ""

    @property
    def experiment(self):
        return DummyExperiment()

    def log_metrics(self, metrics, step=None):
        self.metrics |= metrics

    def log_hyperparams(self, params, *_, **__):
        self.settings |= params

    def log_image(self, key, images, step):
        self.images.append((key, images[0].mode, step))

    def finalize(self, status):
        self.ends.append(status)


def test_csv_has_curves_and_results(fit, tmp_path, caplog):
    caplog.set_level(RESULT)
    fit(tmp_path, "experiment=cgan_embed20", "logger=csv")
    with (tmp_path / "csv/version_0/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    losses = [row for row in rows if row["train/loss_g"]]
    assert [row["step"] for row in losses] == ["1", "2", "3", "4", "5", "6"]
    metrics = recorded(tmp_path)["metrics"]
    assert float(rows[-1]["test/fid"]) == pytest.approx(metrics["test/fid"])
    assert not list(tmp_path.glob("events*"))
    assert str(tmp_path) in caplog.text
    assert "tensorboard --logdir" not in caplog.text


def test_any_logger_gets_metrics_pictures_and_configuration(fit, tmp_path, caplog):
    caplog.set_level(RESULT)
    fit(tmp_path, "experiment=cgan_embed20", "+logger.notes._target_=tests.runs.test_loggers.Notes", "tags=[try]")
    notes = Notes.last
    assert {"train/loss_d", "run/lr_generator", "val/fid", "test/fid", "floor/fid"} <= notes.metrics.keys()
    assert ("pictures/grid", "RGB", 6) in notes.images
    assert notes.settings["model"]["embedding_dim"] == 20
    assert notes.ends[-1] == "success"
    assert list(tmp_path.glob("events*"))  # beside TensorBoard
    assert f"tensorboard --logdir {tmp_path.parent}" in caplog.text
    assert recorded(tmp_path)["config"]["tags"] == ["try"]


@pytest.fixture
def without_key(monkeypatch):
    def refuse(self):
        raise RuntimeError("No API key configured.\nLog in first.")

    monkeypatch.setattr(CSVLogger, "experiment", property(refuse))


NO_KEY = "logger: CSVLogger does not start. No API key configured. Log in first."


def test_a_logger_that_does_not_start_is_named_before_training(fit, tmp_path, without_key):
    with pytest.raises(UserError, match=NO_KEY):
        fit(tmp_path, "experiment=cgan_embed20", "logger=csv")
    assert not (tmp_path / "checkpoints").exists()


def test_loggers_that_started_end_if_another_one_does_not(tmp_path, without_key):
    notes, later = Notes(), Notes()
    with pytest.raises(UserError, match=NO_KEY), ending([notes, CSVLogger(tmp_path), later]):
        raise AssertionError("training began")
    assert notes.ends == ["failed"]
    assert later.ends == []


def test_a_run_without_a_logger_leaves_its_files(fit, tmp_path):
    fit(tmp_path, "experiment=autoencoder", "logger=none", *TINY[2:6], tiny=False)
    left = {path.name for path in tmp_path.rglob("*")}
    assert {"metrics.json", "history.json", "losses.png", "restored.png"} <= left
    assert not list(tmp_path.glob("events*"))


def test_a_checkpoint_brings_no_logger(fit, tmp_path):
    fit(tmp_path / "run", "experiment=cgan_embed20", "trainer.max_epochs=1", "logger=csv")
    fit(tmp_path / "run", f"ckpt={tmp_path}/run/checkpoints/last.ckpt", "trainer.max_epochs=2")
    assert [path.name for path in (tmp_path / "run/csv").iterdir()] == ["version_0"]
    assert list((tmp_path / "run").glob("events*"))
