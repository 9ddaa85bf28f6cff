"""Models in the package, and exported weights that are not trusted."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

import mnist_gen
from mnist_gen.errors import UserError
from mnist_gen.inference import stored
from mnist_gen.inference.export import network
from tests.inference.conftest import KINDS, build


@pytest.mark.parametrize("name", KINDS)
def test_a_model_in_the_package_works_as_before(package, name):
    whole, _ = build(name)
    loaded = mnist_gen.load(name)
    assert type(loaded) is type(whole)
    assert not any(weight.requires_grad for weight in loaded.parameters())
    assert not loaded.training
    inputs = network(whole).inputs(3)
    assert torch.equal(network(loaded).module(*inputs.values()), network(whole).module(*inputs.values()))


def test_models_are_listed_with_what_they_are(package):
    assert mnist_gen.models() == {name: f"A {name}." for name in sorted(KINDS)}


def test_only_what_works_is_stored(package):
    assert {name.partition(".")[0] for name in load_file(package / "cgan.safetensors")} == {"averaged"}
    assert {name.partition(".")[0] for name in load_file(package / "clusters.safetensors")} == {
        "averaged", "pseudo_labels"
    }  # fmt: skip
    assert {name.partition(".")[0] for name in load_file(package / "classifier.safetensors")} == {"averaged"}


def test_half_precision_takes_half_the_room_and_loads_as_single(package, tmp_path):
    model, config = build("cgan")
    stored.save(tmp_path / "half.safetensors", model, (config, {}), half=True)
    sizes = [path.stat().st_size for path in (tmp_path / "half.safetensors", package / "cgan.safetensors")]
    assert sizes[0] < 0.6 * sizes[1]
    loaded = mnist_gen.load(tmp_path / "half.safetensors")
    assert all(weight.dtype == torch.float32 for weight in loaded.parameters())
    assert torch.allclose(loaded.sample(3, 2), model.sample(3, 2), atol=1e-2)


def test_a_runs_folder_and_its_checkpoint_are_models_too(made, tmp_path):
    folder = made(tmp_path / "run", "experiment=cgan_embed20", "trainer.max_epochs=1")
    images = mnist_gen.load(folder).sample(digit=3, count=2)
    assert torch.equal(images, mnist_gen.load(folder / "checkpoints/best.ckpt").sample(digit=3, count=2))
    config, about = stored.origin(folder)
    assert config["_target_"] == "mnist_gen.gan.GAN"
    assert about["what"] == "The main experiment: a label embedding of 20 numbers."
    assert about["seed"] == 0
    assert "test/fid" in about["metrics"]


@pytest.fixture
def copied(package, tmp_path):
    for suffix in ("safetensors", "json"):
        shutil.copy(package / f"cgan.{suffix}", tmp_path)
    return tmp_path / "cgan.safetensors"


def changed(path, change):
    content = json.loads(path.with_suffix(".json").read_text())
    change(content)
    path.with_suffix(".json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["config"]["model"].update(_target_="os.system"), "which is not ours"),
        (lambda c: c["config"]["model"].update(latent_dim=33), "its weights do not fit its own configuration"),
        (lambda c: c["config"]["model"].update(latent_dim="${oc.env:HOME}"), "would look up"),
        (lambda c: c["config"].update(model=None), "its configuration has no model"),
        (lambda c: c.pop("config"), "cgan.json is missing beside it, or broken"),
    ],
)
def test_a_foreign_configuration_is_refused(copied, change, message):
    changed(copied, change)
    with pytest.raises(UserError, match=message) as error:
        mnist_gen.load(copied)
    assert str(error.value).startswith(f"ckpt={copied}")


def test_damaged_weights_are_refused(copied):
    weights = load_file(copied)
    name = next(name for name, weight in weights.items() if weight.is_floating_point())
    save_file(weights | {name: torch.full_like(weights[name], torch.nan)}, copied)
    with pytest.raises(UserError, match=f"{name} holds values that are not finite"):
        mnist_gen.load(copied)
    save_file({other: weight for other, weight in weights.items() if other != name}, copied)
    with pytest.raises(UserError, match=f"{name} is missing"):
        mnist_gen.load(copied)
    save_file(weights | {"more": torch.zeros(1)}, copied)
    with pytest.raises(UserError, match="its model has no more"):
        mnist_gen.load(copied)
    copied.write_bytes(b"\xff" * 100)
    with pytest.raises(UserError, match="not a safetensors file, or damaged"):
        mnist_gen.load(copied)
    copied.unlink()
    with pytest.raises(UserError, match="no such file, and no model in the package; it has autoencoder, cgan, class"):
        mnist_gen.load(copied)


def test_parts_that_the_file_does_not_hold_cannot_take_memory(copied):
    changed(copied, lambda c: c["config"]["model"]["discriminator"].update(channels=1024))
    with pytest.raises(UserError, match=r"refused, its model would have [\d,]+ weights that the file does not hold"):
        mnist_gen.load(copied)


def test_options_of_another_version_are_named(copied):
    changed(copied, lambda c: c["config"]["model"].update(clusters=None))
    with pytest.raises(UserError, match="its options are those of another version of its classes; train again"):
        mnist_gen.load(copied)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_one_line(package):
    with pytest.raises(UserError, match="device=cuda: cannot be used here"):
        mnist_gen.load("cgan", device="cuda")


def test_importing_the_package_does_not_import_torch():
    code = "import sys, mnist_gen; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = mnist_gen.nothing
