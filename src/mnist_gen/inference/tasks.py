"""The tasks with trained models: sample, predict, translate, reconstruct, export. Each writes what `out` names."""

import csv
import io
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from omegaconf import DictConfig
from torch import Tensor

from mnist_gen.autoencoder import Autoencoder
from mnist_gen.data import NUM_CLASSES
from mnist_gen.errors import UserError
from mnist_gen.gan import GAN
from mnist_gen.inference import export as exporting
from mnist_gen.inference import pictures
from mnist_gen.inference.sampling import interpolate
from mnist_gen.inference.stored import load, origin
from mnist_gen.inference.writing import writable, write
from mnist_gen.runs import layout, limits, plots
from mnist_gen.runs.config import plain
from mnist_gen.runs.tasks import EXPORTS
from mnist_gen.system import files
from mnist_gen.translation import Translation

SHOWN = 20  # pictures beside each other; more are in the arrays only
MOST_SHOWN = 100  # pictures with captions
MOST_IMAGES = 1000  # in a picture, or frames of a film
DIGITS_IN_A_ROW = 10
CAPTION = 14  # letters of a file's name

Made = tuple[dict[str, Tensor], Tensor, int, str]  # arrays, frames of a film, columns and title of a picture

log = logging.getLogger(__name__)
T = TypeVar("T")


def sample(cfg: DictConfig) -> None:
    """Samples of a GAN, or paths from one digit to another."""
    model = _model(cfg, GAN, "sampling")
    made = _samples(model, cfg.digit, cfg.count, cfg.seed) if cfg.to is None else _paths(model, cfg)
    arrays, frames, columns, title = made
    images, out = arrays["images"], Path(cfg.out)
    write(out, arrays, lambda: plots.grid(images[:MOST_IMAGES], columns, title), frames[:MOST_IMAGES])
    drawn = (
        f", of which it shows {MOST_IMAGES:,}" if len(images) > MOST_IMAGES and out.suffix in (".png", ".gif") else ""
    )
    print(f"{len(images):,} images in {out}{drawn}")


def _samples(model: GAN, digit: int | Sequence[int] | None, count: int, seed: int) -> Made:
    images = model.sample(digit if digit is None or isinstance(digit, int) else list(digit), count, seed)
    arrays = {"images": images}
    if digit is None:
        columns, what = NUM_CLASSES, "digits 0 to 9 in turn" if model.conditional else "any digits"
        labels = torch.arange(count) % NUM_CLASSES
    else:
        digits = [digit] if isinstance(digit, int) else list(digit)
        columns = min(10, math.ceil(math.sqrt(count))) if len(digits) == 1 else count
        what = (
            f"digit {digits[0]}"
            if len(digits) == 1
            else f"digits {', '.join(map(str, digits))}; a column has one latent"
        )
        labels = torch.tensor(digits).repeat_interleave(count)
    if model.conditional:
        arrays["labels"] = labels
    return arrays, images.unsqueeze(1), columns, f"{len(images)} samples, {what}"


def _paths(model: GAN, cfg: DictConfig) -> Made:
    if not isinstance(cfg.digit, int):
        raise UserError(f"to={cfg.to}: name the digit to start from, such as digit=1.")
    paths = interpolate(model, cfg.digit, cfg.to, cfg.steps, cfg.count, cfg.between, cfg.seed)  # (count, steps, ...)
    title = f"From {cfg.digit} to {cfg.to}, between {cfg.between}"
    return {"images": paths.flatten(0, 1)}, paths.transpose(0, 1), cfg.steps, title


def predict(cfg: DictConfig) -> None:
    """Reads the digits in picture files: a table on the screen and as `.csv`, and what the network saw."""
    model = _model(cfg, None, "reading")
    if not hasattr(model, "probabilities"):
        raise UserError(f"ckpt={cfg.ckpt} is a checkpoint of {type(model).__name__}; reading needs a classifier.")
    names, seen = _seen(cfg)
    probabilities: Tensor = model.probabilities(seen).cpu()  # (N, 10)
    print(_table(names, probabilities))
    likely, digits = (values.tolist() for values in probabilities[:MOST_SHOWN].max(dim=1))
    shown = zip(names, digits, likely, strict=False)
    captions = [f"{Path(name).name[:CAPTION]}\n{digit} ({share:.0%})" for name, digit, share in shown]
    out = Path(cfg.out)
    arrays = {"images": seen, "probabilities": probabilities}
    write(out, arrays, lambda: plots.captioned(seen[:MOST_SHOWN], captions, DIGITS_IN_A_ROW), names=names)
    table = io.StringIO()
    rows = ([name, *(f"{share:.4f}" for share in row)] for name, row in zip(names, probabilities.tolist(), strict=True))
    csv.writer(table, lineterminator="\n").writerows([["file", *map(str, range(NUM_CLASSES))], *rows])
    with writable(out.with_suffix(".csv")):
        files.write_now(out.with_suffix(".csv"), table.getvalue())
    print(f"{_counted(len(names), 'digit')} in {out} and {out.with_suffix('.csv')}")


def _table(names: Sequence[str], probabilities: Tensor) -> str:
    """The two likeliest digits of each file, with their probabilities."""
    width = max(map(len, ("file", *names)))
    lines = [f"{'file':<{width}}  {'digit':>5}  {'probability':>11}  {'second':>6}  {'probability':>11}"]
    for name, row in zip(names, probabilities, strict=True):
        (first, second), (digit, other) = (values.tolist() for values in row.topk(2))
        lines.append(f"{name:<{width}}  {digit:>5}  {first:>11.3f}  {other:>6}  {second:>11.3f}")
    return "\n".join(lines)


def translate(cfg: DictConfig) -> None:
    """Translates the digits in picture files."""
    model = _model(cfg, Translation, "translating")
    names, seen = _seen(cfg)
    _write_beside(cfg, names, seen, model.translate(seen), "translation")


def reconstruct(cfg: DictConfig) -> None:
    """Encodes the digits in picture files, and decodes them again."""
    model = _model(cfg, Autoencoder, "reconstructing")
    names, seen = _seen(cfg)
    _write_beside(cfg, names, seen, model(seen), "reconstruction")


def export(cfg: DictConfig) -> None:
    """Writes a model for use without this package."""
    model, (config, about) = _model(cfg, None, ""), origin(cfg.ckpt)
    source = Path(cfg.ckpt)
    name = source.stem if source.suffix == layout.EXPORTED or not about.get("experiment") else about["experiment"]
    out = Path(cfg.out or f"{name.replace('/', '_')}{EXPORTS[cfg.format]}")
    if out.exists() and source.exists() and out.samefile(source):
        raise UserError(f"out={out}: that is the model itself; name another file.")
    with writable(out):
        if cfg.format == "safetensors":
            difference = exporting.write_weights(model, out, (config, about), cfg.half, cfg.trust)
        else:
            difference = exporting.write(model, cfg.format, out)
    inputs = ", ".join(f"{name} {tuple(x.shape[1:])}" for name, x in exporting.network(model).inputs(1).items())
    print(f"{out}: inputs {inputs}, each with a batch of any size in front")
    print(f"largest difference from the model on random inputs: {difference:.1e}")


def _write_beside(cfg: DictConfig, names: Sequence[str], seen: Tensor, made: Tensor, what: str) -> None:
    both = torch.cat([seen[:SHOWN], made[:SHOWN]])
    title = "Pictures as the network saw them, and what it made of them"
    arrays = {"images": made, "seen": seen}
    write(Path(cfg.out), arrays, lambda: plots.grid(both, len(both) // 2, title, ("seen", what)), names=names)
    print(f"{_counted(len(names), 'picture')} in {cfg.out}")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _seen(cfg: DictConfig) -> tuple[list[str], Tensor]:
    """Names of picture files, and the images (N, 1, 32, 32) that a network sees; says which could not be read."""
    chosen = [cfg.images] if isinstance(cfg.images, str) else list(cfg.images or ())
    if not chosen:
        raise UserError(f"task={cfg.task}: name pictures of digits, images=<a PNG or JPEG file, or a folder>.")
    names, found = [], []
    for path, image in pictures.read_all(pictures.find(chosen)):
        if isinstance(image, UserError):
            log.warning("%s", image)
        else:
            names.append(str(path))
            found.append(image)
    if not found:
        raise UserError(f"images: none of {len(pictures.find(chosen))} files shows one digit.")
    return names, torch.stack(found).to(cfg.device)


def _model(cfg: DictConfig, kind: type[T] | None, purpose: str) -> Any:
    """The model that `ckpt` names, of the kind that the task needs."""
    limits.check(plain(cfg))
    model = load(cfg.ckpt, cfg.trust, cfg.get("device", "cpu"))
    if kind is not None and not isinstance(model, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        made = f"ckpt={cfg.ckpt} is a checkpoint of {type(model).__name__}"
        raise UserError(f"{made}; {purpose} needs {article} {kind.__name__}.")
    return model
