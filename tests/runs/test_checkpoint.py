import pickle
import re
from pathlib import Path

import pytest
import torch

import mnist_gen
from mnist_gen.errors import UserError
from mnist_gen.runs import checkpoint, trust
from tests.conftest import kept


@pytest.fixture
def best(made, tmp_path) -> Path:
    """A checkpoint of a tiny run."""
    return made(tmp_path / "run", "experiment=cgan_embed20", "trainer.max_epochs=1") / "checkpoints/best.ckpt"


def altered(path: Path, **changes: str) -> Path:
    """A copy whose configuration has other values, by dotted key."""
    content = torch.load(path, weights_only=True)
    for key, value in changes.items():
        node = content["config"]
        *parents, last = key.split("__")
        for parent in parents:
            node = node[parent]
        node[last] = value
    torch.save(content, path.with_name("altered.ckpt"))
    return path.with_name("altered.ckpt")


def test_load_needs_only_the_checkpoint_and_samples_repeat(best, monkeypatch, tmp_path):
    alone = tmp_path / "elsewhere.ckpt"
    best.rename(alone)
    monkeypatch.delenv("MNIST_GEN_ROOT")
    monkeypatch.chdir(tmp_path)
    model = mnist_gen.load(alone)
    images = model.sample(digit=3, count=25)
    assert images.shape == (25, 1, 32, 32)
    assert 0 <= images.min() <= images.max() <= 1
    assert torch.equal(images, mnist_gen.load(str(alone)).sample(digit=3, count=25))
    assert not model.training
    assert not any(weight.requires_grad for weight in model.parameters())


def test_content_is_plain_and_holds_no_scorer(best):
    content = torch.load(best, weights_only=True)
    assert content["config"]["model"]["embedding_dim"] == 20
    assert content["config"]["data"]["root"] is not None
    assert {name.split(".")[0] for name in content["state_dict"]} == {"generator", "discriminator", "averaged"}
    assert best.stat().st_size < 3_000_000


class Code:
    """Pickles to a call."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_unusable_files_are_told_apart(best, tmp_path):
    whole = best.read_bytes()
    files = {
        "empty": b"",
        "truncated": whole[: len(whole) // 2],
        "text": b"not a checkpoint at all",
        "pickle": pickle.dumps(Code(tmp_path / "ran")),
    }
    for name, content in files.items():
        path = tmp_path / f"{name}.ckpt"
        path.write_bytes(content)
        with pytest.raises(UserError, match=f"ckpt=.*{name}.ckpt: "):
            checkpoint.read(path)
    torch.save(Code(tmp_path / "ran"), tmp_path / "code.ckpt")
    with pytest.raises(UserError, match="contains code"):
        checkpoint.read(tmp_path / "code.ckpt")
    assert not (tmp_path / "ran").exists()
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="not a checkpoint of mnist_gen"):
        checkpoint.read(tmp_path / "other.ckpt")
    with pytest.raises(UserError, match="no such file"):
        checkpoint.read(tmp_path / "none.ckpt")


@pytest.mark.parametrize(
    "target",
    [
        "pathlib.Path.unlink",
        "os.system",
        "mnist_gen.data.mnist.shutil.rmtree",  # starts well, is not ours
        "mnist_gen.gan.GAN.load_from_checkpoint",
        "lightning.pytorch.callbacks.ModelCheckpoint",
        "lightning.pytorch.callbacks.spike.SpikeDetection",  # a callback that writes a file where it is told to
        "torch.optim.adam.torch.load",
        "mnist_gen.nothing",
    ],
)
@pytest.mark.parametrize("place", ["model__generator___target_", "callbacks__last___target_", "data___target_"])
def test_foreign_targets_are_refused(best, target, place):
    path = altered(best, **{place: target})
    with pytest.raises(UserError, match="refused, (its configuration would run|this version has no class)"):
        trust.configuration(checkpoint.read(path), path)


def test_lists_that_repeat_each_other_are_refused(best, monkeypatch):
    monkeypatch.setattr(checkpoint, "MOST_ENTRIES", 10_000)
    content, nested = torch.load(best, weights_only=True), [0]
    for _ in range(9):
        nested = [nested] * 10  # a billion entries in a few bytes
    torch.save(content | {"nested": nested}, best)
    with pytest.raises(UserError, match="refused, it holds too many values"):
        checkpoint.read(best)


@pytest.mark.parametrize("value", ["${oc.env:HOME}", "${oc.create:'{_target_: os.getcwd}'}", "${${model.label}:HOME}"])
def test_nothing_is_looked_up_on_this_machine(best, value):
    for place in ("model__loss", "seed", "trainer__max_epochs"):
        path = altered(best, **{place: value})
        with pytest.raises(UserError, match="refused, its configuration would look up"):
            trust.configuration(checkpoint.read(path), path)


def test_a_resumed_run_removes_no_folder(best, fit, tmp_path):
    """Lightning removed what a checkpoint's callbacks name, with all that lies in it."""
    path, kept = best.with_name("last.ckpt"), tmp_path / "run/kept"
    kept.mkdir()
    content = torch.load(path, weights_only=True)
    for state in content["callbacks"].values():
        for key in state.keys() & {"best_model_path", "kth_best_model_path"}:
            state[key] = "/x/.."
        if "best_k_models" in state:
            state["best_k_models"] = {"/x/..": 1e9}
            state["best_model_score"] = 1e9
    torch.save(content, path)
    fit(tmp_path / "run", f"ckpt={path}", "trainer.max_epochs=2")
    assert kept.is_dir()
    assert {"best.ckpt", "last.ckpt"} <= {file.name for file in path.parent.iterdir()}


def test_places_cannot_be_given_by_position(best):
    path = altered(best, data___args_=["MNIST", "/x", "/x"])
    with pytest.raises(UserError, match="its configuration has data._args_: only named options are allowed"):
        trust.configuration(checkpoint.read(path), path)


def test_this_machines_places_stand_where_a_checkpoint_names_none(best):
    content = checkpoint.read(best)
    del content["config"]["data"]["cache"]
    content["config"]["callbacks"]["other"] = {"scorer": "/x"}
    cfg = trust.configuration(content, best, {"data.cache": "/here", "scorer": "/mine"})
    assert (cfg.data.cache, cfg.callbacks.other.scorer, cfg.callbacks.metrics.scorer) == ("/here", "/mine", "/mine")


def test_a_class_of_another_version_says_so(best):
    path = altered(best, model___target_="mnist_gen.older.GAN")
    with pytest.raises(UserError, match="this version has no class model._target_=mnist_gen.older.GAN; train again"):
        checkpoint.load(path)


def test_a_checkpoints_places_give_way(best, fit, tmp_path):
    """Data are looked for and unpacked where this machine's configuration says."""
    elsewhere = tmp_path / "foreign"
    path = altered(best, data__root=str(elsewhere / "data"), data__cache=str(elsewhere / "cache"), root=str(elsewhere))
    fit(tmp_path / "again", "task=test", f"ckpt={path}", task="test")
    assert not elsewhere.exists()


@pytest.mark.parametrize(
    "disguise",
    [
        r"\${oc.create:'{_target_: pathlib.Path.touch}'}",  # resolving takes one layer off
        r"\\\${oc.env:HOME}",
    ],
)
def test_an_escaped_interpolation_is_refused(best, disguise):
    with pytest.raises(UserError, match="refused, its configuration would look up"):
        checkpoint.load(altered(best, model__loss=disguise))


def test_weights_that_do_not_fit(best):
    with pytest.raises(UserError, match="its weights do not fit"):
        checkpoint.load(altered(best, model__latent_dim=8))


def test_the_documentation_names_everything_that_a_checkpoint_contains(made, tmp_path):
    content = kept(made(tmp_path / "run", "experiment=cgan_embed20"))
    first_column = re.findall(r"^\| (`.*?) \|", checkpoint.__doc__, re.MULTILINE)
    documented = set(re.findall(r"`(\w+)`", " ".join(first_column)))
    assert content.keys() - {"pytorch-lightning_version"} == documented - {"history", "spread"}
