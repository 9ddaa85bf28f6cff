"""Digits in picture files."""

import numpy as np
import pytest
import torch
from PIL import Image

from mnist_gen.data.mnist import to_images
from mnist_gen.errors import UserError
from mnist_gen.evaluation import fidelity
from mnist_gen.evaluation.scorer import load_scorer
from mnist_gen.inference import pictures
from tests.inference.conftest import SEVEN, drawing


@pytest.fixture(scope="module")
def scorer():
    return load_scorer(None, "MNIST")


def read_by(scorer, image):
    return fidelity.features_and_digits(scorer, image[None])[1].item()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dark.png", {}),
        ("bright.png", {"paper": "black", "ink": "white"}),
        ("blue.jpg", {"paper": (250, 245, 230), "ink": (20, 40, 160)}),
        ("faint.jpg", {"paper": (200, 200, 200), "ink": (150, 150, 150)}),
        ("fine.png", {"width": 2}),
        ("bold.png", {"width": 50}),
        ("wide.png", {"size": (1600, 400)}),
        ("transparent.png", {"paper": (0, 0, 0, 0), "mode": "RGBA"}),
        ("palette.png", {"mode": "P"}),
        ("bit.png", {"mode": "1"}),
    ],
)
def test_a_drawn_seven_is_read_as_seven(scorer, tmp_path, name, options):
    image = pictures.read(drawing(tmp_path / name, **options))
    assert image.shape == (1, 32, 32)
    assert image.min() == 0
    assert image.max() == 1
    assert read_by(scorer, image) == 7


def test_a_digit_fits_into_20_pixels_with_its_mass_in_the_middle(tmp_path):
    image = pictures.read(drawing(tmp_path / "seven.png", size=(900, 500)))[0]
    rows, columns = (torch.nonzero(image.sum(dim=axis)).flatten() for axis in (1, 0))
    assert rows[-1] - rows[0] + 1 == 20
    assert columns[-1] - columns[0] + 1 <= 20
    places = torch.arange(32.0)
    for axis in (0, 1):
        centre = (image.sum(dim=1 - axis) * places).sum() / image.sum()
        assert centre.item() == pytest.approx(15.5, abs=0.6)  # of 32 pixels


def test_mnists_own_digits_are_read_from_photographs_of_them(scorer, real, tmp_path):
    raw, labels = real["test"]
    random, right, differences = np.random.default_rng(0), 0, []
    for number in range(60):
        size = 90 + number
        ink = np.asarray(Image.fromarray(raw[number].numpy()).resize((size, size), Image.Resampling.BICUBIC)) / 255
        canvas = np.zeros((200, 300))
        canvas[20 : 20 + size, 60 : 60 + size] = ink
        paper = np.linspace(0.75, 0.95, 300)[None] - 0.05 * random.random((200, 300))  # uneven light, and noise
        Image.fromarray(np.uint8(paper * (1 - 0.8 * canvas) * 255)).save(tmp_path / "photo.jpg", quality=70)
        image = pictures.read(tmp_path / "photo.jpg")
        right += read_by(scorer, image) == labels[number]
        differences.append((image - to_images(raw[number])).abs().mean().item())
    assert right >= 58
    assert np.mean(differences) < 0.06


def test_a_rotated_photograph_is_turned_upright(scorer, tmp_path):
    with Image.open(drawing(tmp_path / "seven.png")) as image:
        exif = image.getexif()
        exif[0x0112] = 6  # shown, it is turned by 90 degrees
        image.rotate(90).save(tmp_path / "turned.jpg", exif=exif)
    assert read_by(scorer, pictures.read(tmp_path / "turned.jpg")) == 7


def test_specks_are_ignored_and_a_broken_stroke_is_one_digit(scorer, tmp_path):
    speck = [(20, 20), (26, 26)]
    assert read_by(scorer, pictures.read(drawing(tmp_path / "speck.png", [SEVEN, speck], width=12))) == 7
    five = [[(150, 100), (290, 100)], [(150, 130), (150, 200), (260, 210), (290, 260), (250, 320), (140, 320)]]
    assert read_by(scorer, pictures.read(drawing(tmp_path / "five.png", five, width=16))) == 5


def refuse(path):
    with pytest.raises(UserError) as error:
        pictures.read(path)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value).removeprefix(f"{path}: ")


def test_files_without_one_digit_are_refused(tmp_path, monkeypatch):
    two = [SEVEN, [(x + 250, y) for x, y in SEVEN]]
    assert refuse(drawing(tmp_path / "two.png", two, size=(700, 400))) == "shows several digits; keep only one."
    assert refuse(drawing(tmp_path / "blank.png", [])) == "shows no digit: there is too little contrast."
    (tmp_path / "text.png").write_text("no picture")
    assert refuse(tmp_path / "text.png").startswith("cannot be read (")
    whole = drawing(tmp_path / "whole.png").read_bytes()
    (tmp_path / "torn.png").write_bytes(whole[: len(whole) // 2])
    assert refuse(tmp_path / "torn.png").startswith("cannot be read (")
    drawing(tmp_path / "other.gif")
    assert refuse(tmp_path / "other.gif").startswith("cannot be read (")
    assert refuse(tmp_path / "none.png").startswith("cannot be read (")
    monkeypatch.setattr(pictures, "MOST_PIXELS", 100)
    assert refuse(tmp_path / "whole.png") == "has 400x400 pixels; at most 100 are read."


def test_digits_above_each_other_frames_and_halves_are_refused(tmp_path):
    above = [SEVEN, [(x, y + 300) for x, y in SEVEN]]
    assert refuse(drawing(tmp_path / "above.png", above, size=(400, 700))).startswith("shows several digits")
    frame = [[(0, 0), (399, 0), (399, 399), (0, 399), (0, 0)]]
    assert refuse(drawing(tmp_path / "frame.png", [*frame, SEVEN], width=40)).startswith("shows no digit on paper")
    half = Image.new("L", (100, 100))
    half.paste(255, (0, 0, 50, 100))
    half.save(tmp_path / "half.png")
    assert refuse(tmp_path / "half.png").startswith("shows no digit")
    Image.new("L", (100, 100)).save(tmp_path / "black.png")
    assert refuse(tmp_path / "black.png") == "shows no digit: there is too little contrast."


def test_sixteen_bits_and_twenty_megapixels_are_read(scorer, tmp_path):
    with Image.open(drawing(tmp_path / "seven.png", mode="L")) as image:
        faint = 1000 + np.asarray(image, np.uint16) * 4  # a scan that uses few of its levels
        Image.fromarray(faint).save(tmp_path / "deep.png")
        image.resize((5000, 4000)).save(tmp_path / "large.jpg")
    assert read_by(scorer, pictures.read(tmp_path / "deep.png")) == 7
    assert read_by(scorer, pictures.read(tmp_path / "large.jpg")) == 7


def test_files_are_found_in_folders(tmp_path):
    for name in ("b.png", "a.JPG", "c.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in pictures.find([tmp_path])] == ["a.JPG", "b.png"]
    assert pictures.find([tmp_path / "c.txt", tmp_path / "b.png"]) == [tmp_path / "c.txt", tmp_path / "b.png"]
    with pytest.raises(UserError, match=f"images={tmp_path}/none: no such file or folder"):
        pictures.find([tmp_path / "none"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="the folder holds no .png, .jpg, .jpeg files"):
        pictures.find([tmp_path / "empty"])
