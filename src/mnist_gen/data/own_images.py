"""Your own labelled gray images, from an `.npz` file or from a folder per class. Nothing in the file is trusted.

* `.npz`: arrays `images` (N, H, W), uint8, uint16 or floats in [0, 1], and `labels` (N,), whole numbers from 0 to 9;
  optionally `test_images` and `test_labels`.
* Folder: one folder per class with PNG, JPEG or BMP files, directly or below `train` and `test`. Classes are numbered
  by the order of their names; names that are digits keep their number.

Images are at most 32x32 pixels, all of one size, and are padded with zeros to 32x32. Of 16 bits, the upper eight are
kept, unless no image uses them. Without test images, a random tenth of all images becomes the test set.
"""

import functools
import hashlib
import itertools
import logging
import textwrap
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mnist_gen.data import IMAGE_SIZE, NUM_CLASSES, SPLIT_SEED
from mnist_gen.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
MOST_BYTES = 2**32  # in the arrays of an `.npz`

log = logging.getLogger(__name__)

Labelled = tuple[Tensor, Tensor]  # raw images (N, 32, 32) uint8, labels (N,) int64


def load(path: Path) -> tuple[Labelled, Labelled]:
    """Training and test images with their labels; a `UserError` names the path and what is wrong with it."""
    try:
        if path.is_dir():
            train, test = _from_folders(path)
        elif path.is_file() and path.suffix == ".npz":
            train, test = _from_npz(path)
        else:
            raise UserError("no such folder or .npz file.")
        return (train, test) if test is not None else _split(*train)
    except UserError as error:
        raise UserError(f"data.path={path}: {error}") from None


def fingerprint(path: Path) -> str:
    """A name for the images that depends only on their content, so that files can be moved and renamed."""
    digest = hashlib.sha256()
    for tensor in itertools.chain(*load(path)):
        digest.update(tensor.numpy().tobytes())
    return f"own-{digest.hexdigest()[:12]}"


def _split(images: Tensor, labels: Tensor) -> tuple[Labelled, Labelled]:
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SPLIT_SEED))
    count = len(labels) // 10
    if count == 0:
        raise UserError(f"{len(labels)} images are too few; there must be at least 10.")
    test, train = order[:count], order[count:].sort().values
    return (images[train], labels[train]), (images[test], labels[test])


def _from_npz(path: Path) -> tuple[Labelled, Labelled | None]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(info.file_size for info in archive.infolist())
        content = np.load(path, allow_pickle=False) if size <= MOST_BYTES else {}
        arrays = {name: array for name, array in content.items() if isinstance(array, np.ndarray)}  # or raw bytes
    except Exception as error:  # a damaged archive fails in many ways
        raise UserError(f"cannot be read ({textwrap.shorten(str(error), 100)}).") from None
    if size > MOST_BYTES:
        raise UserError(f"its arrays take {size / 2**30:.0f} GiB; at most 4 are allowed.")
    train, test = (_arrays(arrays, prefix) for prefix in ("", "test_"))
    if train is None:
        raise UserError(f"there is no array `images`; it has {', '.join(arrays) or 'none'}.")
    return train, test


def _arrays(arrays: Mapping[str, NDArray[np.generic]], prefix: str) -> Labelled | None:
    images, labels = arrays.get(f"{prefix}images"), arrays.get(f"{prefix}labels")
    if images is None:
        return None
    if labels is None:
        raise UserError(f"there is no array `{prefix}labels`.")
    if labels.ndim != 1 or labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        kind = f"{labels.dtype} {labels.shape}"
        raise UserError(f"{prefix}labels must be a whole number for each image, not {kind}.")
    if len(labels) and not (labels.min() >= 0 and labels.max() < NUM_CLASSES):
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise UserError(f"{prefix}labels must be from 0 to {NUM_CLASSES - 1}, not {wrong}.")
    return _padded(_gray(images)), torch.from_numpy(labels.astype(np.int64))


def _gray(images: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Images of any accepted shape and type as uint8 (N, H, W)."""
    if images.ndim == 4 and 1 in (images.shape[1], images.shape[3]):
        images = images.squeeze(1 if images.shape[1] == 1 else 3)
    elif images.ndim == 4 and images.shape[3] == 3:
        _mention_colours("the")
        gray = images.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
        images = gray.round().astype(images.dtype) if images.dtype.kind == "u" else gray
    if images.ndim != 3 or images.size == 0:
        raise UserError(f"images must be (N, height, width), not {images.shape}.")
    if images.dtype in (np.uint8, np.uint16):
        return (images // (256 if images.max() > 255 else 1)).astype(np.uint8)
    if images.dtype.kind == "f" and np.isfinite(images).all() and images.min() >= 0 and images.max() <= 1:
        return (images * 255).round().astype(np.uint8)
    found = (
        f"{images.dtype} from {images.min():.4g} to {images.max():.4g}" if images.dtype.kind == "f" else images.dtype
    )
    raise UserError(f"images must be uint8, uint16, or floats from 0 to 1, not {found}.")


@functools.cache
def _mention_colours(which: str) -> None:
    """Warns once, although a run reads its images several times."""
    log.warning("data.path: %s images have colours; they are converted to gray.", which)


def _padded(images: NDArray[np.uint8]) -> Tensor:
    """Pads images (N, H, W) to (N, 32, 32)."""
    height, width = images.shape[1:]
    if max(height, width) > IMAGE_SIZE:
        raise UserError(f"images are {height}x{width} pixels; at most {IMAGE_SIZE}x{IMAGE_SIZE} are allowed.")
    left, top = (IMAGE_SIZE - width) // 2, (IMAGE_SIZE - height) // 2
    return F.pad(torch.from_numpy(images), (left, IMAGE_SIZE - width - left, top, IMAGE_SIZE - height - top))


def _from_folders(path: Path) -> tuple[Labelled, Labelled | None]:
    if not (path / "train").is_dir():
        return _classes(path, _numbers(path)), None
    numbers = _numbers(path / "train")
    return _classes(path / "train", numbers), _classes(path / "test", numbers) if (path / "test").is_dir() else None


def _numbers(path: Path) -> dict[str, int]:
    """The number of each class, by the name of its folder."""
    names = _folders(path)
    if not names:
        found = "has no folders" if any(path.iterdir()) else "is empty"
        raise UserError(f"the folder {found}; it must hold a folder per class.")
    if len(names) > NUM_CLASSES:
        raise UserError(f"there are {len(names)} classes; at most {NUM_CLASSES} are allowed.")
    are_digits = all(name in map(str, range(NUM_CLASSES)) for name in names)
    return {name: int(name) if are_digits else number for number, name in enumerate(names)}


def _folders(path: Path) -> list[str]:
    return sorted(folder.name for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))


def _classes(path: Path, numbers: Mapping[str, int]) -> Labelled:
    if unknown := set(_folders(path)) - numbers.keys():
        raise UserError(f"{min(unknown)} is not a class of the training images.")
    files = [file for name in numbers for file in sorted((path / name).glob("*")) if file.suffix.lower() in SUFFIXES]
    if not files:
        raise UserError(f"there are no {', '.join(SUFFIXES)} files in its folders.")
    pixels, coloured = zip(*map(_opened, files), strict=True)
    for file, image in zip(files, pixels, strict=True):
        if image.dtype != pixels[0].dtype:
            raise UserError(f"images of 8 and of 16 bits ({files[0].name}, {file.name}); save all with the same.")
        if image.shape != pixels[0].shape:
            sizes = " and ".join(f"{h}x{w}" for h, w in (pixels[0].shape, image.shape))
            raise UserError(f"images of mixed sizes, {sizes} ({files[0].name}, {file.name}).")
    if any(coloured):
        _mention_colours(str(sum(coloured)))
    return _padded(_gray(np.stack(pixels))), torch.tensor([numbers[file.parent.name] for file in files])


def _opened(file: Path) -> tuple[NDArray[np.generic], bool]:
    """The gray pixels of an image file, and whether it had colours. Its size is checked before it is decoded."""
    try:
        with Image.open(file) as image:
            width, height = image.size
            if max(image.size) > IMAGE_SIZE:
                raise UserError(f"{file} has {height}x{width} pixels; at most {IMAGE_SIZE}x{IMAGE_SIZE} are allowed.")
            if image.mode.startswith("I"):  # 16 bits, which `convert` would clip
                return np.asarray(image).astype(np.uint16), False
            return np.asarray(image.convert("L")), image.mode not in ("1", "L", "LA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # of a damaged file
        raise UserError(f"{file} cannot be read ({textwrap.shorten(str(error), 100)}).") from None
