"""Your own labelled gray images, from an `.npz` file or from a folder per class. Nothing in the file is trusted.

* `.npz`: arrays `images` (N, H, W), uint8 or floats in [0, 1], and `labels` (N,), whole numbers from 0 to 9; optionally
  `test_images` and `test_labels`.
* Folder: one folder per class with PNG, JPEG or BMP files, directly or below `train` and `test`. Classes are numbered
  by the order of their names; names that are digits keep their number.

Images are at most 32x32 pixels, all of one size, and are padded with zeros to 32x32. Without test images, a random
tenth of all images becomes the test set.
"""

import functools
import hashlib
import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from mnist_gen.data import IMAGE_SIZE, NUM_CLASSES, SPLIT_SEED
from mnist_gen.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
MOST_BYTES = 2**32  # in the arrays of an `.npz`

log = logging.getLogger(__name__)

Labelled = tuple[Tensor, Tensor]  # raw images (N, 32, 32) uint8, labels (N,) int64


def load(path: Path) -> tuple[Labelled, Labelled]:
    """Training and test images with their labels.

    Raises:
        UserError: one line that names the file and what is wrong with it.
    """
    if path.is_dir():
        train, test = _from_folders(path)
    elif path.is_file() and path.suffix == ".npz":
        train, test = _from_npz(path)
    else:
        raise UserError(f"data.path={path}: no such folder or .npz file.")
    return (train, test) if test is not None else _split(path, *train)


def fingerprint(path: Path) -> str:
    """A name for the images that depends only on their content, so that files can be moved and renamed.

    Raises:
        UserError: as `load`.
    """
    digest = hashlib.sha256()
    for part in load(path):
        for tensor in part:
            digest.update(tensor.numpy().tobytes())
    return f"own-{digest.hexdigest()[:12]}"


def _split(path: Path, images: Tensor, labels: Tensor) -> tuple[Labelled, Labelled]:
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(SPLIT_SEED))
    count = len(labels) // 10
    if count == 0:
        raise UserError(f"data.path={path}: {len(labels)} images are too few; there must be at least 10.")
    test, train = order[:count], order[count:].sort().values
    return (images[train], labels[train]), (images[test], labels[test])


def _from_npz(path: Path) -> tuple[Labelled, Labelled | None]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(info.file_size for info in archive.infolist())
        if size > MOST_BYTES:
            raise UserError(f"data.path={path}: its arrays take {size / 2**30:.0f} GiB; at most 4 are allowed.")
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
    except UserError:
        raise
    except Exception as error:  # a damaged archive fails in many ways
        raise UserError(f"data.path={path}: cannot be read ({' '.join(str(error).split())[:100]}).") from None
    arrays = {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}  # others are raw bytes
    train, test = (_arrays(path, arrays, prefix) for prefix in ("", "test_"))
    if train is None:
        raise UserError(f"data.path={path}: there is no array `images`; it has {', '.join(arrays) or 'none'}.")
    return train, test


def _arrays(path: Path, arrays: Mapping[str, NDArray[np.generic]], prefix: str) -> Labelled | None:
    images, labels = arrays.get(f"{prefix}images"), arrays.get(f"{prefix}labels")
    if images is None:
        return None
    if labels is None:
        raise UserError(f"data.path={path}: there is no array `{prefix}labels`.")
    if labels.ndim != 1 or labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        kind = f"{labels.dtype} {labels.shape}"
        raise UserError(f"data.path={path}: {prefix}labels must be a whole number for each image, not {kind}.")
    if len(labels) and not (labels.min() >= 0 and labels.max() < NUM_CLASSES):
        raise UserError(f"data.path={path}: {prefix}labels must be from 0 to {NUM_CLASSES - 1}, not {labels.max()}.")
    return _raw(path, _gray(path, images)), torch.from_numpy(labels.astype(np.int64))


def _gray(path: Path, images: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Images of any accepted shape and type as uint8 (N, H, W)."""
    if images.ndim == 4 and images.shape[1] == 1:
        images = images[:, 0]
    elif images.ndim == 4 and images.shape[3] in (1, 3):
        if images.shape[3] == 3:
            _mention(f"{path}: the images have colours; they are converted to gray.")
            images = images.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
            images = images.round().astype(np.uint8) if images.max(initial=0) > 1 else images
        else:
            images = images[..., 0]
    if images.ndim != 3 or images.size == 0:
        raise UserError(f"data.path={path}: images must be (N, height, width), not {images.shape}.")
    if images.dtype == np.uint8:
        return images  # type: ignore[return-value]
    if images.dtype.kind == "f" and np.isfinite(images).all() and images.min() >= 0 and images.max() <= 1:
        return (images * 255).round().astype(np.uint8)
    raise UserError(f"data.path={path}: images must be uint8, or floats from 0 to 1, not {images.dtype}.")


@functools.cache
def _mention(text: str) -> None:
    """Logs a line once, although a run reads its images several times."""
    log.warning(text)


def _raw(path: Path, images: NDArray[np.uint8]) -> Tensor:
    """Pads images (N, H, W) to (N, 32, 32)."""
    height, width = images.shape[1:]
    if max(height, width) > IMAGE_SIZE:
        raise UserError(
            f"data.path={path}: images are {height}x{width} pixels; at most {IMAGE_SIZE}x{IMAGE_SIZE} are allowed."
        )
    left, top = (IMAGE_SIZE - width) // 2, (IMAGE_SIZE - height) // 2
    return F.pad(torch.from_numpy(images), (left, IMAGE_SIZE - width - left, top, IMAGE_SIZE - height - top))


def _from_folders(path: Path) -> tuple[Labelled, Labelled | None]:
    if not (path / "train").is_dir():
        return _classes(path, _names(path)), None
    names = _names(path / "train")
    return _classes(path / "train", names), _classes(path / "test", names) if (path / "test").is_dir() else None


def _names(path: Path) -> dict[str, int]:
    """The folders of classes and their numbers."""
    names = _folders(path)
    if not names:
        raise UserError(f"data.path={path}: the folder is empty; it must hold a folder per class.")
    if len(names) > NUM_CLASSES:
        raise UserError(f"data.path={path}: there are {len(names)} classes; at most {NUM_CLASSES} are allowed.")
    if all(name in map(str, range(NUM_CLASSES)) for name in names):
        return {name: int(name) for name in names}
    return {name: number for number, name in enumerate(names)}


def _folders(path: Path) -> list[str]:
    return sorted(folder.name for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith("."))


def _classes(path: Path, names: Mapping[str, int]) -> Labelled:
    if unknown := set(_folders(path)) - names.keys():
        raise UserError(f"data.path={path}: {min(unknown)} is not a class of the training images.")
    files = {
        file: label
        for name, label in names.items()
        for file in sorted((path / name).glob("*"))
        if file.suffix.lower() in SUFFIXES
    }
    if not files:
        raise UserError(f"data.path={path}: there are no {', '.join(SUFFIXES)} files in its folders.")
    pixels, coloured, first = [], 0, next(iter(files))
    for file in files:
        image, has_colours = _opened(file)
        coloured += has_colours
        pixels.append(image)
        if image.shape != pixels[0].shape:
            sizes = " and ".join(f"{h}x{w}" for h, w in (pixels[0].shape, image.shape))
            raise UserError(f"data.path={path}: images of mixed sizes, {sizes} ({first.name}, {file.name}).")
    if coloured:
        _mention(f"{path}: {coloured} images have colours; they are converted to gray.")
    return _raw(path, np.stack(pixels)), torch.tensor([*files.values()])


def _opened(file: Path) -> tuple[NDArray[np.uint8], bool]:
    """The gray pixels of an image file, and whether it had colours. Its size is checked before it is decoded."""
    try:
        with Image.open(file) as image:
            if max(image.size) > IMAGE_SIZE:
                width, height = image.size
                raise UserError(
                    f"data.path: {file} has {height}x{width} pixels; at most {IMAGE_SIZE}x{IMAGE_SIZE} are allowed."
                )
            return np.asarray(image.convert("L")), image.mode not in ("1", "L", "LA", "I", "I;16", "F")
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"data.path: {file} cannot be read ({' '.join(str(error).split())[:100]}).") from None
