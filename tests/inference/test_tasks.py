"""The tasks with trained models, and exports that compute the same."""

import csv
import io
import re
import shutil

import numpy as np
import onnxruntime
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

import mnist_gen
from mnist_gen.errors import UserError
from mnist_gen.inference import export as exporting
from mnist_gen.inference.export import network
from tests.inference.conftest import build, drawing


@pytest.fixture
def do(fit, package, tmp_path):
    """`do(task, *words)` runs a task; its file is `out`, unless the words name another."""

    def run(task, *words):
        fit(tmp_path, f"task={task}", *words, task=task, tiny=False)

    return run


@pytest.fixture
def digits(tmp_path):
    folder = tmp_path / "digits"
    folder.mkdir()
    for name, width in (("b.png", 10), ("a.jpg", 30)):
        drawing(folder / name, width=width)
    return folder


def test_samples_as_picture_arrays_tensors_and_film(do, tmp_path):
    out, model = {end: tmp_path / f"made/three.{end}" for end in ("png", "npz", "pt", "gif")}, mnist_gen.load("cgan")
    for path in out.values():
        do("sample", "digit=3", "count=7", f"out={path}")
    expected = model.sample(digit=3, count=7)
    arrays = np.load(out["npz"])
    assert np.allclose(arrays["images"], expected.numpy())
    assert arrays["labels"].tolist() == [3] * 7
    assert torch.allclose(torch.load(out["pt"], weights_only=True)["images"], expected)
    with Image.open(out["gif"]) as film, Image.open(out["png"]) as picture:
        assert film.n_frames == 7
        assert film.size == (32 * 4, 32 * 4)
        assert picture.format == "PNG"


def test_paths_from_one_digit_to_another(do, tmp_path):
    do("sample", "digit=1", "to=7", "steps=4", "count=2", "between=latents", f"out={tmp_path / 'path.npz'}")
    expected = mnist_gen.interpolate(mnist_gen.load("cgan"), 1, 7, steps=4, count=2, between="latents")
    assert np.allclose(np.load(tmp_path / "path.npz")["images"], expected.flatten(0, 1).numpy(), atol=1e-5)
    do("sample", "digit=1", "to=7", "steps=4", "count=2", f"out={tmp_path / 'path.gif'}")
    with Image.open(tmp_path / "path.gif") as film:
        assert film.n_frames == 4
        assert film.width == (2 * 33 + 1) * 4
    with pytest.raises(UserError, match="to=7: name the digit to start from, such as digit=1"):
        do("sample", "to=7", f"out={tmp_path / 'path.png'}")


def test_one_latent_for_all_digits(do, tmp_path):
    do("sample", "digit=[0,1,2,3,4,5,6,7,8,9]", "count=1", f"out={tmp_path / 'all.npz'}")
    assert np.load(tmp_path / "all.npz")["images"].shape == (10, 1, 32, 32)
    assert np.load(tmp_path / "all.npz")["labels"].tolist() == [*range(10)]


def test_predictions_are_a_table_and_a_picture(do, digits, tmp_path, capsys):
    do("predict", f"images={digits}", f"out={tmp_path / 'read.png'}")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["file", "digit", "probability", "second", "probability"]
    assert [line.split()[0] for line in lines[1:3]] == [str(digits / "a.jpg"), str(digits / "b.png")]
    table = list(csv.reader(io.StringIO((tmp_path / "read.csv").read_text())))
    assert table[0] == ["file", *map(str, range(10))]
    for row, line in zip(table[1:], lines[1:3], strict=True):
        shares = [float(share) for share in row[1:]]
        assert sum(shares) == pytest.approx(1, abs=1e-3)
        assert int(line.split()[1]) == int(np.argmax(shares))
    with Image.open(tmp_path / "read.png") as picture:
        assert picture.format == "PNG"


def test_a_file_that_cannot_be_read_leaves_the_others(do, digits, tmp_path, caplog):
    (digits / "c.png").write_bytes(b"no picture")
    do("predict", f"images={digits}", f"out={tmp_path / 'read.npz'}")
    assert f"{digits / 'c.png'}: cannot be read" in caplog.text
    arrays = np.load(tmp_path / "read.npz")
    assert arrays["images"].shape == (2, 1, 32, 32)
    assert arrays["names"].tolist() == [str(digits / "a.jpg"), str(digits / "b.png")]
    with pytest.raises(UserError, match="images: none of 1 files shows one digit"):
        do("predict", f"images=[{digits / 'c.png'}]", f"out={tmp_path / 'read.npz'}")
    with pytest.raises(UserError, match="task=predict: name pictures of digits, images=<a PNG or JPEG file, or a fold"):
        do("predict", f"out={tmp_path / 'read.npz'}")


@pytest.mark.parametrize(("task", "name"), [("translate", "outlines"), ("reconstruct", "autoencoder")])
def test_pictures_are_translated_and_reconstructed(do, digits, tmp_path, task, name):
    do(task, f"images={digits}", f"out={tmp_path / 'made.npz'}")
    arrays = np.load(tmp_path / "made.npz")
    expected = network(mnist_gen.load(name)).module(torch.from_numpy(arrays["seen"]))
    assert np.allclose(arrays["images"], expected.numpy(), atol=1e-5)
    do(task, f"images={digits}", f"out={tmp_path / 'made.png'}")


@pytest.mark.parametrize(
    ("task", "ckpt", "message"),
    [
        ("sample", "autoencoder", "ckpt=autoencoder is a checkpoint of Autoencoder; sampling needs a GAN."),
        ("predict", "cgan", "ckpt=cgan is a checkpoint of GAN; reading needs a classifier."),
        ("translate", "cgan", "ckpt=cgan is a checkpoint of GAN; translating needs a Translation."),
        ("reconstruct", "cgan", "ckpt=cgan is a checkpoint of GAN; reconstructing needs an Autoencoder."),
    ],
)
def test_a_model_of_another_kind_is_refused(do, task, ckpt, message):
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        do(task, f"ckpt={ckpt}")


def test_a_large_picture_shows_a_thousand_images(do, tmp_path, capsys, monkeypatch):
    shown = []
    monkeypatch.setattr("mnist_gen.runs.plots.grid", lambda images, *_: shown.append(len(images)) or Figure())
    do("sample", "digit=3", "count=1500", f"out={tmp_path / 'many.png'}")
    assert shown == [1000]
    assert capsys.readouterr().out == f"1,500 images in {tmp_path / 'many.png'}, of which it shows 1,000\n"
    do("sample", "digit=3", "count=1500", f"out={tmp_path / 'many.npz'}")
    assert np.load(tmp_path / "many.npz")["images"].shape == (1500, 1, 32, 32)


def test_an_export_does_not_overwrite_its_source(do, packaged, tmp_path, monkeypatch):
    for suffix in ("safetensors", "json"):
        shutil.copy(packaged / f"cgan.{suffix}", tmp_path)
    monkeypatch.chdir(tmp_path)
    before = (tmp_path / "cgan.safetensors").read_bytes()
    with pytest.raises(UserError, match="out=cgan.safetensors: that is the model itself; name another file"):
        do("export", "ckpt=cgan.safetensors", "format=safetensors", "half=true")
    assert (tmp_path / "cgan.safetensors").read_bytes() == before


def test_what_a_format_cannot_hold_is_one_line(package, tmp_path, monkeypatch):
    model = mnist_gen.load("autoencoder")
    monkeypatch.setattr(model.encoder, "forward", lambda x: x[: int(x.sum())])
    with pytest.raises(UserError, match="format=torch_export: cannot hold this model"):
        exporting.write(model, "torch_export", tmp_path / "a.pt2")


def test_samples_that_cannot_be_written_are_one_line(do, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=f"out={tmp_path}/file/a.png: cannot be written"):
        do("sample", f"out={tmp_path / 'file/a.png'}")


@pytest.mark.parametrize("name", ["cgan", "clusters", "outlines", "heads"])
def test_onnx_computes_the_same_for_any_batch(do, tmp_path, name, capsys):
    do("export", f"ckpt={name}", "format=onnx", f"out={tmp_path / 'model.onnx'}")
    assert float(capsys.readouterr().out.split()[-1]) < 1e-5
    model, session = network(mnist_gen.load(name)), onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for size in (1, 5):
        inputs = model.inputs(size)
        (found,) = session.run([model.output], {key: values.numpy() for key, values in inputs.items()})
        assert np.allclose(found, model.module(*inputs.values()).numpy(), atol=1e-5)


def test_an_exported_gan_takes_normal_latents():
    gan = build("cgan", "model.latent_scale=1.5")[0]
    latents = torch.randn(2, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        images = network(gan).module(latents, torch.tensor([3, 7]))
    assert torch.equal(images, gan.generate(1.5 * latents, torch.tensor([3, 7])))


@pytest.mark.parametrize("name", ["cgan", "classifier"])
def test_torch_export_computes_the_same(do, tmp_path, name):
    do("export", f"ckpt={name}", "format=torch_export", f"out={tmp_path / 'model.pt2'}")
    model, again = network(mnist_gen.load(name)), torch.export.load(tmp_path / "model.pt2").module()
    inputs = model.inputs(4)
    assert torch.allclose(again(*inputs.values()), model.module(*inputs.values()), atol=1e-6)


def test_exported_weights_are_a_model_again(do, made, tmp_path, capsys):
    run = made(tmp_path / "run", "experiment=cgan_embed20", "trainer.max_epochs=1")
    do("export", f"ckpt={run}", "format=safetensors", "half=true", f"out={tmp_path / 'mine.safetensors'}")
    assert float(capsys.readouterr().out.split()[-1]) < 1e-2
    assert mnist_gen.load(tmp_path / "mine.safetensors").sample(digit=3, count=2).shape == (2, 1, 32, 32)
    do("export", f"ckpt={tmp_path / 'mine.safetensors'}", "format=safetensors", f"out={tmp_path / 'again.safetensors'}")
    assert (tmp_path / "again.json").read_text() == (tmp_path / "mine.json").read_text()
