"""Options of Lightning's Trainer: each works, or is refused in one line before anything starts."""

from pathlib import Path

import pytest
import torch

from mnist_gen.errors import UserError
from mnist_gen.system import devices
from tests.autoencoder.conftest import TINY_RUN as FEW
from tests.conftest import TINY, kept, recorded, same_run, train_py

GAN = ("experiment=cgan_embed20",)
AUTOENCODER = ("experiment=autoencoder", *FEW, "trainer.max_epochs=2")


def steps(folder: Path) -> int:
    return kept(folder)["global_step"]


@pytest.fixture
def autoencoder(fit, tmp_path):
    """`autoencoder(*words)` trains a tiny one, of a few batches in each of two epochs; returns its folder."""

    def train(*words: str, name: str = "run") -> Path:
        fit(tmp_path / name, *AUTOENCODER, "trainer.limit_train_batches=4", *words, tiny=False)
        return tmp_path / name

    return train


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("+trainer.accumulate_grad_batches=2", 4),
        ("+trainer.gradient_clip_val=0.5", 8),
        ("+trainer.max_steps=3", 3),
        ("trainer.limit_train_batches=0.1", 6),
        ("trainer.limit_val_batches=1", 8),
        ("trainer.limit_test_batches=1", 8),
        ("trainer.check_val_every_n_epoch=2", 8),
        ("trainer.check_val_every_n_epoch=3", 8),  # never: the last checkpoint is tested
        ("+trainer.deterministic=true", 8),
        ("+trainer.detect_anomaly=true", 8),
        ("trainer.devices=1", 8),
    ],
)
def test_options_that_work(autoencoder, option, expected):
    folder = autoencoder(option)
    torch.use_deterministic_algorithms(False)
    assert steps(folder) == expected
    assert "test/loss" in recorded(folder)["metrics"]
    assert recorded(folder)["precision"] == "32-true"


def test_half_precision_is_recorded(autoencoder, fit, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "computes_bf16", lambda: True)
    folder = autoencoder("trainer.precision=bf16-mixed")
    assert recorded(folder)["precision"] == "bf16-mixed"
    assert recorded(folder)["metrics"]["test/loss"] != recorded(autoencoder(name="full"))["metrics"]["test/loss"]
    fit(tmp_path / "gan", *GAN, "trainer.max_epochs=1")  # whose precision is `auto`
    assert recorded(tmp_path / "gan")["precision"] == "bf16-mixed"


def test_without_bf16_instructions(autoencoder, fit, tmp_path):
    fit(tmp_path / "gan", *GAN, "trainer.max_epochs=1")
    assert recorded(tmp_path / "gan")["precision"] == "32-true"
    with pytest.raises(UserError, match=r"^trainer.precision=bf16-mixed: this processor has no bf16 instructions; set"):
        autoencoder("trainer.precision=bf16-mixed")


@pytest.mark.parametrize("profiler", ["simple", "advanced", "pytorch"])
def test_a_profile_is_a_file(autoencoder, profiler):
    assert "FIT Profiler Report" in (autoencoder(f"+trainer.profiler={profiler}") / "fit-profile.txt").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("words", "steps_of_a_batch"), [(AUTOENCODER[:1], 1), (("experiment=cgan_embed20", *TINY), 2)])
def test_two_processes_make_one_run(tmp_path, words, steps_of_a_batch):
    processes = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    length = ["trainer.limit_train_batches=4", "trainer.max_epochs=1", "data.batch_size=8"]
    done = train_py(*words, *processes, *length, f"hydra.run.dir={tmp_path}/run")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert steps(tmp_path / "run") == 4 * steps_of_a_batch
    assert recorded(tmp_path / "run")["metrics"].keys() & {"test/loss", "test/fid"}
    assert done.stdout.count("tensorboard --logdir") == done.stdout.count("epoch 1/1  ") == 1


def test_time_runs_out(fit, tmp_path):
    fit(tmp_path, *GAN, "trainer.max_epochs=1000", "+trainer.max_time={seconds:2}", "callbacks.draw.at_epochs=[1]")
    assert 0 < steps(tmp_path) < 2 * 3 * 1000
    assert "test/fid" in recorded(tmp_path)["metrics"]


def test_accumulated_gradients_are_never_half_saved(autoencoder):
    """A checkpoint holds no gradients: it comes after a step."""
    words = ("+trainer.accumulate_grad_batches=3", "callbacks.last.every_seconds=1e-9")
    folder = autoencoder(*words)
    same_run(folder, autoencoder(*words, name="other"))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("+trainer.fast_dev_run=true", "trainer.fast_dev_run=True: does not work with Autoencoder; it keeps no"),
        ("+trainer.overfit_batches=2", "trainer.overfit_batches=2: does not work .*; it changes the order"),
        ("+trainer.num_nodes=2", "trainer.num_nodes=2: does not work .*; a run has one machine"),
        ("+trainer.min_epochs=-1", "trainer.min_epochs=-1: must be"),
        ("trainer.devices=1024", "trainer.devices=1024: there are .* processor cores; set fewer"),
        ("+trainer.val_check_interval=0.5", "use trainer.check_val_every_n_epoch"),
        ("trainer.precision=16-mixed", "trainer.precision=16-mixed: must be one of auto, 32-true, bf16-mixed"),
        ("trainer.strategy=fsdp", "trainer.strategy=fsdp: must be one of auto, ddp"),
        ("+trainer.profiler=slow", "trainer.profiler=slow: must be one of null, simple"),
        ("+trainer.logger=false", "trainer.logger=False: does not work .*; every run sets it"),
        ("+trainer.max_time=soon", "trainer: "),
        ("+trainer.nothing=1", "trainer: .*nothing"),
        ("trainer.accelerator=quantum", "trainer: "),
        ("trainer.limit_train_batches=0", "trainer.limit_train_batches=0: must be"),
        ("+callbacks.extra=early_stopping", "names no class; did you mean callbacks/extra=early_stopping?"),
        ("+callbacks.mine.patience=3", "callbacks.mine: names no class; set callbacks.mine._target_."),
        ("+logger.mine.save_dir=x", "logger.mine: names no class; set logger.mine._target_."),
    ],
)
def test_options_that_are_refused(autoencoder, tmp_path, option, message):
    with pytest.raises(UserError, match=message) as error:
        autoencoder(option)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run/checkpoints").exists()


@pytest.mark.parametrize(
    "option",
    ["+trainer.accumulate_grad_batches=2", "+trainer.gradient_clip_val=1", "+trainer.max_steps=5", "trainer.devices=2"],
)
def test_options_that_take_one_network(fit, tmp_path, option):
    with pytest.raises(UserError, match="GAN"):
        fit(tmp_path / "run", *GAN, option)
    assert not (tmp_path / "run/checkpoints").exists()


def test_a_model_that_validates_each_epoch(fit, tmp_path):
    words = ["experiment=transfer_linear_scratch", "data.watched=30", "trainer.check_val_every_n_epoch=2"]
    with pytest.raises(UserError, match="trainer.check_val_every_n_epoch: this model needs a validation after each"):
        fit(tmp_path / "run", *words, tiny=False)
