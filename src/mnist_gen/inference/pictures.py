"""Digits in PNG and JPEG files, made to look like MNIST's.

MNIST's makers scaled each digit to fit into 20x20 pixels, with gray levels from smoothing, and put its centre of mass
into the middle of 28x28 (LeCun et al. 1998). So does this module, after it has made the picture gray, ink bright and
paper black:

1. Transparent pixels become white; colours become gray.
2. The paper's brightness is the median along the picture's edge, pixel by pixel compared with it: ink is what differs,
   whether it is darker or brighter.
3. Differences below a threshold (Otsu 1979) are shadows and noise of the paper.
4. Strokes that would be thinner than two pixels are thickened: MNIST's pens were not finer.
"""

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy import ndimage
from torch import Tensor

from mnist_gen.data.mnist import to_images
from mnist_gen.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg")
MOST_PIXELS = 50_000_000
MOST_FILES = 10_000
WORKING_SIZE = 256  # larger pictures are shrunk first
LEAST_CONTRAST = 0.1  # between ink and paper
BOX, SIDE = 20, 28  # of MNIST's digits and images
STROKE = 2.0  # least width of a stroke, in pixels of MNIST
SPECK = 0.02  # of the ink; smaller parts are specks
OTHER_DIGIT = 0.15  # of the ink; larger parts that stand beside the rest are another digit
LINE = 0.4  # of the ink; larger parts above the rest are another digit, smaller ones may be a 5's bar
MOST_INK = 0.5  # of the picture

Gray = NDArray[np.float32]


def find(paths: Sequence[str | Path]) -> list[Path]:
    """The picture files that some paths name: files, and PNG and JPEG files directly in folders."""
    found: list[Path] = []
    for path in map(Path, paths):
        inside = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
        if not path.exists():
            raise UserError(f"images={path}: no such file or folder.")
        if not inside:
            raise UserError(f"images={path}: the folder holds no {', '.join(SUFFIXES)} files.")
        found += inside
    if len(found) > MOST_FILES:
        raise UserError(f"images: {len(found):,} files; at most {MOST_FILES:,} are read at once.")
    return found


def read(path: Path) -> Tensor:
    """The digit in a picture file: (1, 32, 32) in [0, 1], as in MNIST; a UserError says what is wrong with the file."""
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            if image.width * image.height > MOST_PIXELS:
                raise UserError(f"has {image.width}x{image.height} pixels; at most {MOST_PIXELS:,} are read.")
            return digit_in(image)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # of a damaged file
        raise UserError(f"{path}: cannot be read ({textwrap.shorten(str(error), 100)}).") from None


def digit_in(image: Image.Image) -> Tensor:
    """The digit in a picture: (1, 32, 32) in [0, 1], as in MNIST; a UserError says if there is none, or several."""
    return to_images(torch.from_numpy(as_mnist(_gray(image))))


def _gray(image: Image.Image) -> Gray:
    """Brightness (H, W) in [0, 1], upright, on white where it was transparent, of a moderate size."""
    upright = ImageOps.exif_transpose(_in_bytes(image)).convert("RGBA")
    upright.thumbnail((WORKING_SIZE, WORKING_SIZE), Image.Resampling.BOX)
    paper = Image.new("RGBA", upright.size, "white")
    return np.asarray(Image.alpha_composite(paper, upright).convert("L"), np.float32) / np.float32(255)


def _in_bytes(image: Image.Image) -> Image.Image:
    """A picture of 16 or more bits, by its own range, as one of 8 bits; others stay."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image, np.float32)
    span = values.max() - values.min()
    made = Image.fromarray(((values - values.min()) * (255 / max(span, 1))).astype(np.uint8))
    made.info = image.info
    return made


def as_mnist(gray: Gray) -> NDArray[np.uint8]:
    """A picture (H, W) in [0, 1] of one digit -> (28, 28) uint8, bright on black, in MNIST's size and place."""
    ink = _cropped(_ink(gray))
    ink = _cropped(_thickened(np.pad(ink, max(ink.shape) // BOX + 1), BOX / max(ink.shape)))
    digit = Image.fromarray((ink * 255).astype(np.uint8))
    scale = BOX / max(digit.size)
    width, height = (max(1, round(side * scale)) for side in digit.size)
    small = np.asarray(digit.resize((width, height), Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR))
    small = (small * (255 / max(small.max(), 1))).astype(np.uint8)
    down, right = (round(SIDE / 2 - centre - 0.5) for centre in ndimage.center_of_mass(small))
    top, left = (min(max(shift, 0), SIDE - side) for shift, side in ((down, height), (right, width)))
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    canvas[top : top + height, left : left + width] = small
    return canvas


def _ink(gray: Gray) -> Gray:
    """How much of each pixel is ink, in [0, 1]: what differs from the paper at the picture's edge."""
    edge = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    ink = np.abs(gray - np.median(edge))
    if ink.max(initial=0) < LEAST_CONTRAST:
        raise UserError("shows no digit: there is too little contrast.")
    ink = ink / ink.max()
    ink[ink < _otsu(ink) / 2] = 0
    labels, count = ndimage.label(ink > 0, structure=np.ones((3, 3)))
    masses = ndimage.sum_labels(ink, labels, range(1, count + 1))
    ink[np.isin(labels, 1 + np.flatnonzero(masses < SPECK * masses.sum()))] = 0
    if (ink > 0).mean() > MOST_INK:
        raise UserError("shows no digit on paper: most of it is ink. Cut away frames and shadows at the edge.")
    _check_single(ink)
    return ink


def _thickened(ink: Gray, scale: float) -> Gray:
    """Strokes at least `STROKE` pixels wide after scaling."""
    inside = ndimage.distance_transform_edt(ink > 0)
    width = 4 * inside[ink > 0].mean() - 1  # of a long stroke
    missing = round((STROKE / scale - width) / 2)
    if missing < 1:
        return ink
    y, x = np.ogrid[-missing : missing + 1, -missing : missing + 1]
    return ndimage.grey_dilation(ink, footprint=x * x + y * y <= missing * missing)


def _otsu(values: Gray) -> float:
    """The threshold that best separates two groups of values in [0, 1] (Otsu 1979)."""
    counts, edges = np.histogram(values, bins=64, range=(0, 1))
    centres = (edges[:-1] + edges[1:]) / 2
    below, above = counts.cumsum(), counts.sum() - counts.cumsum()
    total = (counts * centres).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = below * above * (total / below - (total[-1] - total) / above) ** 2
    return float(edges[1:][np.nan_to_num(variance).argmax()])


def _check_single(ink: Gray) -> None:
    """Refuses ink in several large parts with empty columns, or rows, between them."""
    for axis, share in ((0, OTHER_DIGIT), (1, LINE)):
        profile = ink.sum(axis=axis)
        masses = [profile[part].sum() for part in _runs(profile)]
        if sum(mass > share * sum(masses) for mass in masses) > 1:
            raise UserError("shows several digits; keep only one.")


def _runs(profile: Gray) -> list[slice]:
    """The stretches of a profile that are not empty."""
    labels, _ = ndimage.label(profile > 0)
    return [part for (part,) in ndimage.find_objects(labels)]


def _cropped(ink: Gray) -> Gray:
    """The smallest rectangle with all ink."""
    (extent,) = ndimage.find_objects((ink > 0).astype(int))
    return ink[extent]


def read_all(paths: Sequence[Path]) -> Iterator[tuple[Path, Tensor | UserError]]:
    """Each file with its digit (1, 32, 32), or with what is wrong with it."""
    for path in paths:
        try:
            yield path, read(path)
        except UserError as error:
            yield path, error
