"""Your own images: what may be in them, and what each wrong file says."""

import logging
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from mnist_gen.data import own_images
from mnist_gen.data.mnist import ImageData, to_images
from mnist_gen.errors import UserError
from tests.conftest import kept, recorded

MAIN = "experiment=cgan_embed20"


def arrays(count=100, side=20, **changes):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, side, side), dtype=np.uint8)
    return {"images": images, "labels": np.arange(count) % 10, **changes}


def saved(folder, **content):
    path = folder / "mine.npz"
    np.savez(path, **content)
    return path


def folders(path, names=("0", "1", "2"), count=10, size=(20, 18), mode="L"):
    """A folder per class; every image of class number n has the gray value 10 n + 10."""
    for number, name in enumerate(names):
        (path / name).mkdir(parents=True)
        for index in range(count):
            Image.new(mode, size, 10 * number + 10 if mode == "L" else (255, 0, 0)).save(path / name / f"{index}.png")
    return path


def test_an_npz_is_split_and_padded(tmp_path):
    path = saved(tmp_path, **arrays())
    data = ImageData("mine", ".", ".", batch_size=8, path=str(path))
    data.prepare_data()
    data.setup()
    assert (len(data.train), len(data.val), len(data.test)) == (81, 9, 10)
    assert data.train.images.shape[1:] == (32, 32)
    assert data.train.images[:, :6].max() == data.train.images[:, 26:].max() == 0
    images = torch.cat([part.images[:, 6:26, 6:26].flatten(1) for part in (data.train, data.val, data.test)])
    assert {tuple(image[:9].tolist()) for image in images} == {
        tuple(i.flatten()[:9].tolist()) for i in arrays()["images"]
    }
    assert to_images(data.test.images).shape == (10, 1, 32, 32)
    again = ImageData("mine", ".", ".", batch_size=8, path=str(path))
    again.setup()
    assert torch.equal(again.test.labels, data.test.labels)


def test_an_npz_with_test_images_keeps_them_apart(tmp_path):
    test = arrays(count=7)
    content = {**arrays(), "test_images": test["images"], "test_labels": test["labels"]}
    (train, labels), (images, _) = own_images.load(saved(tmp_path, **content))
    assert (len(train), len(labels), len(images)) == (100, 100, 7)


@pytest.mark.parametrize("change", [lambda i: i[:, None], lambda i: i[..., None], lambda i: i / np.float32(255)])
def test_shapes_and_floats_mean_the_same_images(tmp_path, change):
    content = arrays(side=31)
    expected, _ = own_images.load(saved(tmp_path, **content))
    found, _ = own_images.load(saved(tmp_path, **{**content, "images": change(content["images"])}))
    assert torch.equal(found[0], expected[0])


def test_a_folder_per_class(tmp_path):
    (images, labels), (test, test_labels) = own_images.load(folders(tmp_path / "mine", ("a", "b", "c")))
    assert (len(labels), len(test_labels)) == (27, 3)
    assert torch.equal(images[:, 16, 16], (10 * labels + 10).to(torch.uint8))
    assert test.shape[1:] == (32, 32)
    assert images[:, :7].max() == images[:, :, :6].max() == 0  # 18 rows and 20 columns


def test_digits_keep_their_number_and_folders_may_be_split(tmp_path):
    folders(tmp_path / "mine/train", ("3", "7"))
    folders(tmp_path / "mine/test", ("3", "7"), count=2)
    (_, labels), (_, test_labels) = own_images.load(tmp_path / "mine")
    assert (labels.unique().tolist(), len(labels), len(test_labels)) == ([3, 7], 20, 4)


def test_colours_become_gray_and_are_mentioned(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    (images, _), _ = own_images.load(folders(tmp_path / "mine", mode="RGB"))
    assert images[:, 16, 16].unique().tolist() == [76]
    assert "30 images have colours; they are converted to gray" in caplog.text
    content = arrays()
    red = np.stack([content["images"], content["images"] * 0, content["images"] * 0], axis=3)
    (images, _), _ = own_images.load(saved(tmp_path, **{**content, "images": red}))
    assert images.max() == 76
    assert "the images have colours; they are converted to gray" in caplog.text


def test_sixteen_bits_become_eight(tmp_path):
    mine = folders(tmp_path / "mine", ("0", "1"))
    for number, expected in ((0x1234, 0x12), (0x34, 0x34)):  # the second as if bytes had been stored in 16 bits
        for file in mine.rglob("*.png"):
            Image.fromarray(np.full((20, 18), number, dtype=np.uint16)).save(file)
        (images, _), _ = own_images.load(mine)
        assert images[:, 16, 16].unique().tolist() == [expected]
    Image.new("L", (18, 20)).save(mine / "0/0.png")
    with pytest.raises(UserError, match="images of 8 and of 16 bits"):
        own_images.load(mine)


class Harmful:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"labels": np.arange(3)}, "there is no array `images`; it has labels"),
        ({"images": arrays()["images"]}, "there is no array `labels`"),
        (arrays(labels=np.arange(100)), "labels must be from 0 to 9, not 99"),
        (arrays(labels=np.arange(100) % 10 - 1), "labels must be from 0 to 9, not -1"),
        (arrays(labels=np.zeros(100)), "labels must be a whole number for each image, not float64"),
        (arrays(labels=np.arange(5)), "labels must be a whole number for each image"),
        (arrays(side=33), "images are 33x33 pixels; at most 32x32 are allowed"),
        (arrays(images=np.zeros((100, 400))), r"images must be \(N, height, width\), not \(100, 400\)"),
        (arrays(images=np.zeros((100, 20, 20), int)), "images must be uint8, uint16, or floats from 0 to 1, not int64"),
        (arrays(images=np.full((100, 20, 20), np.nan)), "images must be uint8, uint16, or floats from 0 to 1"),
        (
            arrays(images=np.full((100, 20, 20), 1.5)),
            "images must be uint8, uint16, or floats from 0 to 1, not float64 from 1.5 to 1.5",
        ),
        (arrays(count=9), "9 images are too few"),
        (arrays(images=np.array([Harmful()] * 100)), "cannot be read .*allow_pickle"),
    ],
)
def test_wrong_arrays(tmp_path, content, message, capsys):
    with pytest.raises(UserError, match=f"data.path={tmp_path}/mine.npz: {message}"):
        own_images.load(saved(tmp_path, **content))
    assert "executed" not in capsys.readouterr().out


def test_a_file_of_impossible_size_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(own_images, "MOST_BYTES", 1000)
    with pytest.raises(UserError, match="its arrays take .* GiB; at most 4 are allowed"):
        own_images.load(saved(tmp_path, **arrays()))


def test_damaged_archives(tmp_path):
    path = saved(tmp_path, labels=np.array(3), images=np.array(0.5))
    with pytest.raises(UserError, match="labels must be a whole number for each image"):
        own_images.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images", b"no array")
    with pytest.raises(UserError, match="there is no array `images`; it has none"):
        own_images.load(path)
    np.savez_compressed(path, **arrays())
    content = bytearray(path.read_bytes())
    content[200:2000] = bytes(1800)
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read"):
        own_images.load(path)


def test_hidden_folders_are_no_classes(tmp_path):
    folders(tmp_path / "mine")
    (tmp_path / "mine/.thumbnails").mkdir()
    (_, labels), _ = own_images.load(tmp_path / "mine")
    assert labels.unique().tolist() == [0, 1, 2]


def test_wrong_folders(tmp_path):
    def message(name):
        with pytest.raises(UserError) as error:
            own_images.load(tmp_path / name)
        return str(error.value)

    assert message("none") == f"data.path={tmp_path}/none: no such folder or .npz file."
    (tmp_path / "junk.npz").write_bytes(b"junk")
    assert message("junk.npz").startswith(f"data.path={tmp_path}/junk.npz: cannot be read (")
    (tmp_path / "empty").mkdir()
    assert message("empty") == f"data.path={tmp_path}/empty: the folder is empty; it must hold a folder per class."
    folders(tmp_path / "loose", ("0",))
    assert message("loose/0").endswith("loose/0: the folder has no folders; it must hold a folder per class.")
    (tmp_path / "hollow/a").mkdir(parents=True)
    assert "there are no .png, .jpg, .jpeg, .bmp files" in message("hollow")
    folders(tmp_path / "many", [f"c{n}" for n in range(11)], count=1)
    assert "there are 11 classes; at most 10 are allowed" in message("many")
    folders(tmp_path / "mixed")
    Image.new("L", (10, 10)).save(tmp_path / "mixed/2/9.png")
    assert "images of mixed sizes, 18x20 and 10x10 (0.png, 9.png)" in message("mixed")
    folders(tmp_path / "large", size=(33, 20))
    assert "0.png has 20x33 pixels; at most 32x32 are allowed" in message("large")
    folders(tmp_path / "torn")
    (tmp_path / "torn/1/5.png").write_bytes(b"no picture")
    assert "torn/1/5.png cannot be read" in message("torn")
    folders(tmp_path / "split/train", ("a", "b"))
    folders(tmp_path / "split/test", ("a", "c"))
    assert "c is not a class of the training images" in message("split")


def test_own_images_are_trained_on_tested_and_named_again_to_continue(fit, tmp_path):
    mine = saved(tmp_path, **arrays(200))
    folder = tmp_path / "run"
    fit(folder, MAIN, "data=files", f"data.path={mine}")
    config = recorded(folder)["config"]
    assert config["data"]["path"] == str(mine)
    assert config["data"]["dataset"] == own_images.fingerprint(mine)
    assert (folder / "figures/grid.png").exists()
    mine.rename(tmp_path / "moved.npz")
    last = folder / "checkpoints/last.ckpt"
    with pytest.raises(UserError, match="its run used images of your own; name the path again, data.path=<path>"):
        fit(folder, f"ckpt={last}", "trainer.max_epochs=3")
    with pytest.raises(UserError, match=f"data.path={mine}: no such folder or .npz file"):
        fit(folder, f"ckpt={last}", "trainer.max_epochs=3", f"data.path={mine}")
    np.savez(tmp_path / "others.npz", images=np.zeros((200, 20, 20), dtype=np.uint8), labels=np.arange(200) % 10)
    with pytest.raises(UserError, match="data.path=.*others.npz: not the images of the run of ckpt="):
        fit(folder, f"ckpt={last}", "trainer.max_epochs=3", f"data.path={tmp_path / 'others.npz'}")
    fit(folder, f"ckpt={last}", "trainer.max_epochs=3", f"data.path={tmp_path / 'moved.npz'}")
    assert kept(folder)["epoch"] == 2


def test_own_images_must_be_named(fit, tmp_path):
    with pytest.raises(UserError, match="data=files: name your images, data.path=<an .npz file"):
        fit(tmp_path / "run", MAIN, "data=files")


def test_an_autoencoder_for_own_images_is_trained_on_them(fit, tmp_path):
    mine = saved(tmp_path, **arrays(300, 28))
    quick = ["trainer.max_epochs=1", "trainer.limit_train_batches=2", "data.batch_size=8"]
    autoencoder = [f"pretrained.overrides={quick}", f"pretrained.folder={tmp_path / 'pretrained'}"]
    words = [f"data.path={mine}", "callbacks.draw.at_epochs=[1]", *quick, *autoencoder]
    fit(tmp_path / "run", "experiment=gan_latent", *words, tiny=False)
    (folder,) = (tmp_path / "pretrained").iterdir()
    assert recorded(folder)["config"]["data"]["path"] == str(mine)
