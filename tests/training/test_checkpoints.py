"""What a run keeps, and that it ends as if nothing had happened, whatever happened."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping

import mnist_gen
from mnist_gen.errors import UserError
from mnist_gen.gan import GAN
from mnist_gen.gan.evaluation import MeasureSamples
from mnist_gen.runs import checkpoint
from mnist_gen.system import files
from mnist_gen.training.checkpoints import BestCheckpoint, LastCheckpoint
from tests.autoencoder.conftest import TINY_RUN as FEW
from tests.conftest import kept, same_run

MAIN = ("experiment=cgan_embed20", "trainer.max_epochs=3", "callbacks.draw.at_epochs=[1,3]")
CALLBACKS = "lightning.pytorch.callbacks"


class PowerCutError(Exception):
    """Stands for the end of the process."""


def fails_at(turn: int, method, error: BaseException):
    """A method that raises the error when it is called that often."""
    calls = []

    def fail(*arguments, **options):
        calls.append(1)
        if len(calls) == turn:
            raise error
        return method(*arguments, **options)

    return fail


@pytest.fixture
def whole(made, tmp_path) -> Path:
    """A run that nothing happened to."""
    return made(tmp_path / "whole", *MAIN)


def test_a_run_is_complete_wherever_it_was_cut(fit, tmp_path, whole, monkeypatch):
    for number, (kind, method, turn) in enumerate(
        [
            (MeasureSamples, "on_validation_epoch_end", 2),  # after the checkpoint of the second epoch
            (BestCheckpoint, "on_validation_end", 3),
            (LastCheckpoint, "on_train_epoch_end", 3),  # before the checkpoint after the last epoch
            (GAN, "test_step", 1),  # after it
            (MeasureSamples, "on_test_epoch_end", 1),
        ]
    ):
        folder = tmp_path / f"cut_{number}"
        with monkeypatch.context() as patch:
            patch.setattr(kind, method, fails_at(turn, getattr(kind, method), PowerCutError()))
            with pytest.raises(PowerCutError):
                fit(folder, *MAIN)
        (folder / "history.json").unlink(missing_ok=True)
        assert not (folder / "metrics.json").exists()
        fit(folder, *MAIN)
        same_run(folder, whole)


def test_a_checkpoint_comes_before_an_epochs_validation(fit, tmp_path, monkeypatch):
    monkeypatch.setattr(
        MeasureSamples, "on_validation_epoch_end", fails_at(2, MeasureSamples.on_validation_epoch_end, PowerCutError())
    )
    with pytest.raises(PowerCutError):
        fit(tmp_path, *MAIN)
    assert kept(tmp_path)["global_step"] == 2 * 6  # of both networks, in two epochs of three batches
    assert kept(tmp_path, "previous")["global_step"] == 2 * 3


@pytest.mark.parametrize(("seconds", "steps"), [("1e-9", 8), ("null", 6)])
def test_a_checkpoint_comes_every_so_many_seconds_inside_an_epoch(fit, tmp_path, monkeypatch, seconds, steps):
    monkeypatch.setattr(GAN, "training_step", fails_at(5, GAN.training_step, PowerCutError()))
    with pytest.raises(PowerCutError):
        fit(tmp_path, *MAIN, f"callbacks.last.every_seconds={seconds}")
    assert kept(tmp_path)["global_step"] == steps


@pytest.mark.parametrize(("seconds", "epochs"), [("1e-9", 2), ("null", 0)])
def test_epochs_of_one_batch_are_saved_in_time_too(fit, tmp_path, monkeypatch, seconds, epochs):
    monkeypatch.setattr(GAN, "training_step", fails_at(3, GAN.training_step, PowerCutError()))
    words = ("trainer.limit_train_batches=1", "callbacks.last.every_epochs=10", "callbacks.draw.at_epochs=null")
    with pytest.raises(PowerCutError):
        fit(tmp_path, *MAIN, *words, f"callbacks.last.every_seconds={seconds}")
    assert (kept(tmp_path)["global_step"] if (tmp_path / "checkpoints/last.ckpt").exists() else 0) == 2 * epochs


def test_the_one_before_is_used_if_the_last_is_torn(fit, tmp_path, whole, monkeypatch, caplog):
    folder = tmp_path / "torn"
    with monkeypatch.context() as patch:
        patch.setattr(GAN, "training_step", fails_at(9, GAN.training_step, PowerCutError()))
        with pytest.raises(PowerCutError):
            fit(folder, *MAIN)
    last = folder / "checkpoints/last.ckpt"
    last.write_bytes(last.read_bytes()[:-5000])
    fit(folder, f"ckpt={last}")
    assert [line.message for line in caplog.records if "Using the one before" in line.message] == [
        f"ckpt={last}: empty, truncated or not a checkpoint; use another, such as previous.ckpt. "
        f"Using the one before: {last.with_name('previous.ckpt')}"
    ]
    same_run(folder, whole)


def test_a_torn_checkpoint_never_takes_the_place_of_a_good_one(fit, tmp_path, monkeypatch):
    monkeypatch.setattr(GAN, "training_step", fails_at(9, GAN.training_step, PowerCutError()))
    with pytest.raises(PowerCutError):
        fit(tmp_path, *MAIN)
    last, previous = (tmp_path / f"checkpoints/{name}.ckpt" for name in ("last", "previous"))
    good = previous.read_bytes()
    last.write_bytes(last.read_bytes()[:-5000])
    monkeypatch.setattr(GAN, "training_step", fails_at(4, GAN.training_step, PowerCutError()))
    with pytest.raises(PowerCutError):
        fit(tmp_path, f"ckpt={last}", "callbacks.last.every_seconds=null")
    assert previous.read_bytes() == good
    assert kept(tmp_path)["global_step"] == 2 * 6


def test_the_last_one_is_tested_if_the_best_is_torn(fit, tmp_path, whole, caplog):
    (whole / "metrics.json").unlink()
    best = whole / "checkpoints/best.ckpt"
    best.write_bytes(best.read_bytes()[:-5000])
    fit(whole, *MAIN)
    assert any("The last checkpoint is tested instead" in line.message for line in caplog.records)
    assert (whole / "metrics.json").exists()


def test_validation_before_training_keeps_nothing(fit, tmp_path, monkeypatch):
    monkeypatch.setattr(GAN, "training_step", fails_at(1, GAN.training_step, PowerCutError()))
    with pytest.raises(PowerCutError):
        fit(tmp_path, *MAIN, "trainer.num_sanity_val_steps=1")
    assert not list(tmp_path.glob("checkpoints/*"))


def test_any_optimizer_goes_on(fit, tmp_path):
    words = ("experiment=autoencoder", *FEW, "model.optimizer._target_=torch.optim.NAdam", "~model.optimizer.fused")
    fit(tmp_path, *words, "trainer.max_epochs=1", tiny=False)
    fit(tmp_path, f"ckpt={tmp_path / 'checkpoints/last.ckpt'}", "trainer.max_epochs=2", tiny=False)
    assert kept(tmp_path)["epoch"] == 1


def test_one_flipped_bit_is_noticed(whole):
    """torch itself compares no checksums."""
    path = whole / "checkpoints/last.ckpt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="empty, truncated or not a checkpoint"):
        checkpoint.read(path)


def test_a_run_outlives_a_disk_that_is_full_for_a_while(fit, tmp_path, whole, full_disk, monkeypatch, caplog):
    folder, step = tmp_path / "full", GAN.training_step

    def fill(module, *batch):
        full_disk(module.global_step in range(2 * 2, 2 * 7))
        return step(module, *batch)

    monkeypatch.setattr(GAN, "training_step", fill)
    fit(folder, *MAIN)
    assert len([line for line in caplog.records if "the disk is full" in line.message]) == 1
    same_run(folder, whole)


def test_a_run_whose_disk_stays_full_keeps_what_it_has_and_goes_on_later(fit, tmp_path, whole, full_disk, monkeypatch):
    folder, step = tmp_path / "full", GAN.training_step

    def fill(module, *batch):
        full_disk(module.global_step >= 2 * 4)
        return step(module, *batch)

    with monkeypatch.context() as patch:
        patch.setattr(GAN, "training_step", fill)
        with pytest.raises(OSError, match="No space left"):
            fit(folder, *MAIN)
    files.forget_waiting()
    full_disk(False)
    assert kept(folder)["global_step"] == 2 * 3
    assert not list(folder.rglob("*.part"))
    fit(folder, *MAIN)
    same_run(folder, whole)


def altered(folder: Path, change) -> Path:
    """The run's last checkpoint, changed."""
    path, content = folder / "checkpoints/last.ckpt", kept(folder)
    change(content)
    torch.save(content, path)
    return path


def test_lightnings_callbacks_are_trusted_but_for_those_that_write(fit, tmp_path):
    added = [f"+callbacks.stop._target_={CALLBACKS}.EarlyStopping", "+callbacks.stop.monitor=val/fid"]
    fit(tmp_path, *MAIN, *added)
    assert any(EarlyStopping.__name__ in name for name in kept(tmp_path)["callbacks"])
    path = tmp_path / "checkpoints/last.ckpt"
    assert mnist_gen.load(path).sample(count=2).shape == (2, 1, 32, 32)
    fit(tmp_path, f"ckpt={path}", "trainer.max_epochs=4")
    assert kept(tmp_path)["epoch"] == 3

    def save_elsewhere(content):
        content["config"]["callbacks"]["stop"] = {"_target_": f"{CALLBACKS}.ModelCheckpoint", "dirpath": "/x"}

    path = altered(tmp_path, save_elsewhere)
    with pytest.raises(UserError, match="would run callbacks.stop._target_=.*ModelCheckpoint, which is not ours"):
        fit(tmp_path, f"ckpt={path}", "trainer.max_epochs=5")
    assert mnist_gen.load(path).sample(count=2).shape == (2, 1, 32, 32)  # sampling looks at the model alone


def _first(change):
    """Changes the first weight."""

    def apply(content):
        name = next(iter(content["state_dict"]))
        content["state_dict"][name] = change(content["state_dict"][name])

    return apply


def _set(*keys_and_value):
    """Sets a nested value."""
    *parents, last, value = keys_and_value

    def apply(content):
        for parent in parents:
            content = content[parent]
        content[last] = value

    return apply


ADAM = ("optimizer_states", 0, "state", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("config", []), "it has no configuration"),
        (_set("config", "model", {"_target_": "mnist_gen.training.adversarial.Hinge"}), "would run model._target_"),
        (_set("config", "model", 1, 2), "config.model has the key 1, which is not text"),
        (_set("config", "model", "loss", {"_target_": "mnist_gen.system.files.FolderLock"}), "which is not our"),
        (_set("config", "model", "embedding_dim", 10**9), "says model.embedding_dim=1000000000: must be"),
        (_set("config", "model", "embedding_dim", "many"), "says model.embedding_dim=many: must be"),
        (_set("config", "model", "embedding_dim", 21), r"generator.label_vectors.weight is \(10, 20\), not \(10, 21\)"),
        (_set("config", "trainer", 5), "its configuration has no trainer"),
        (_set("config", "trainer", "devices", 1000), "there are .* processor cores; set fewer"),
        (_set("config", "model", "_partial_", True), "its configuration does not build model"),
        (_set("config", "data", "_partial_", True), "its configuration does not build data"),
        (_set("config", "callbacks", "last", "_partial_", True), "its configuration does not build callbacks.last"),
        (_set("state_dict", 5), "its weights have no names"),
        (_set("state_dict", {1: torch.zeros(1)}), "its weights have no names"),
        (_set("state_dict", "more", torch.zeros(1)), "its model has no more"),
        (
            lambda content: content["state_dict"].pop("generator.label_vectors.weight"),
            "generator.label_vectors.weight is missing",
        ),
        (_first(lambda weight: weight * torch.nan), "holds values that are not finite"),
        (_first(lambda weight: weight.flatten()[:1].expand(10**9)), "claims more values than the file holds"),
        (_first(lambda weight: weight.to_sparse()), "is not a plain tensor"),
        (_first(lambda weight: weight.to("meta")), "has no values"),
        (_set("config", "scorer", "${oc.env:HOME}"), "its run used its own scorer"),
        (_set("config", "data", "path", "${oc.create:[]}"), "its run used images of your own"),
        (_set("callbacks", "BestCheckpoint", {"score": "x"}), "a run cannot continue from it"),
        (_set("callbacks", "BestCheckpoint", {"score": -float("inf")}), "a run cannot continue from it"),
        (_set(*ADAM, "exp_avg", torch.full((1,), torch.inf)), "holds values that are not finite"),
        (_set(*ADAM, "exp_avg", torch.zeros(7)), "has a exp_avg that does not fit its weight"),
        (_set("optimizer_states", 0, "param_groups", 0, "betas", [5, 5]), r"optimizer.betas=\[5, 5\]: must be"),
        (_set("loops", 5), "a run cannot continue from it"),
        (_set("lr_schedulers", [{"last_epoch": "x"}] * 2), "a run cannot continue from it"),
        (_set("callbacks", "Curves", "history", {"a": [[1, "b"]]}), "a run cannot continue from it"),
        (_set("callbacks", "Curves", "history", {"a": []}), "a run cannot continue from it"),
        (_set("callbacks", "Curves", "point_batches", -1), "a run cannot continue from it"),
        (_set("callbacks", "Curves", "point_sums", {"loss_d": torch.ones(1)}), "a run cannot continue from it"),
        (_set("callbacks", "Curves", "sums", {"loss_d": torch.ones(())}), "a run cannot continue from it"),
        (
            _set("callbacks", "DrawSamples", {"grids": {1: torch.zeros(3)}, "digits": {}}),
            "a run cannot continue from it",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_a_foreign_checkpoint_may_not_say(fit, tmp_path, whole, change, message):
    path = altered(whole, change)
    with pytest.raises(UserError, match=message) as error:
        fit(whole, f"ckpt={path}", "trainer.max_epochs=4")
    assert "\n" not in str(error.value)
