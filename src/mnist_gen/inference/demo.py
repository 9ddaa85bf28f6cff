"""What the demo's page shows: samples, blends, and a drawn digit read, reconstructed and translated."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig
from PIL import Image, ImageDraw
from torch import Tensor
from torchvision.utils import make_grid

from mnist_gen.autoencoder import Autoencoder
from mnist_gen.errors import UserError
from mnist_gen.gan import GAN
from mnist_gen.inference import pictures
from mnist_gen.inference.sampling import interpolate
from mnist_gen.inference.stored import load
from mnist_gen.translation import Translation

SAMPLES, PATHS, STEPS = 25, 3, 9
ZOOM = 4  # of an image's pixels

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Models:
    """The demo's models: a conditional GAN, and what reads, reconstructs and translates a drawn digit."""

    gan: GAN
    classifier: Any  # with `probabilities`
    autoencoder: Autoencoder
    translator: Translation


PARTS: Mapping[str, Callable[[Any], bool]] = {  # what happens to a drawn digit, and which models can do it
    "classifier": lambda model: hasattr(model, "probabilities"),
    "autoencoder": lambda model: isinstance(model, Autoencoder),
    "translator": lambda model: isinstance(model, Translation),
}


def directions(gan: GAN, count: int) -> Tensor:
    """The directions (count, latent_dim) in which a generator's first layer changes most (Shen & Zhou 2021)."""
    generator: Any = gan.averaged
    weights = (w for name, w in generator.named_parameters() if not name.startswith("label_vectors"))
    first = next((w for w in weights if w.dim() == 2 and w.shape[1] >= gan.latent_dim), None)
    if first is None:
        raise UserError(f"a {type(generator).__name__} has no layer from latents, along which the demo could move.")
    from_latents = first[:, : gan.latent_dim]
    return torch.linalg.eigh(from_latents.T @ from_latents).eigenvectors.flip(1).T[:count]


def samples(gan: GAN, digit: int, seed: int, moves: Sequence[float] = ()) -> Pixels:
    """Samples of a digit, each moved along the directions."""
    latents = gan.latents(SAMPLES, torch.Generator().manual_seed(seed))
    if any(moves):
        steps = torch.tensor(moves, dtype=torch.float32, device=gan.device)
        latents = latents + steps @ directions(gan, len(moves))
    return _picture(gan.generate(latents, torch.full((SAMPLES,), digit, device=gan.device)), 5)


def blend(gan: GAN, digit: int, to: int, seed: int, between: str) -> Pixels:
    """Paths from one digit to another."""
    return _picture(interpolate(gan, digit, to, STEPS, PATHS, between, seed).flatten(0, 1), STEPS)


def read(models: Models, drawn: Image.Image) -> tuple[dict[str, float], Pixels]:
    """Probabilities by digit; and what the networks saw, its reconstruction and its translation, side by side."""
    seen = pictures.digit_in(drawn)[None].to(models.gan.device)
    shares = models.classifier.probabilities(seen)[0].tolist()
    made = torch.cat([seen, models.autoencoder(seen), models.translator.translate(seen)])
    return {str(digit): share for digit, share in enumerate(shares)}, _picture(made, 3)


def _picture(images: Tensor, columns: int) -> Pixels:
    canvas = make_grid(images.clamp(0, 1), nrow=columns, padding=1, pad_value=0.3)[0]
    return (canvas * 255).byte().repeat_interleave(ZOOM, 0).repeat_interleave(ZOOM, 1).cpu().numpy()


def answer(models: Models, drawn: Image.Image | None) -> tuple[dict[str, float] | None, Pixels | None, str]:
    """What the page shows for a drawing: `read`, or else why it shows nothing."""
    if drawn is None:
        return None, None, ""
    try:
        return *read(models, drawn), ""
    except UserError as error:  # nothing is drawn, or several digits
        return None, None, f"The drawing {error}"


def loaded(cfg: DictConfig) -> Models:
    """The models that the demo's configuration names.

    Raises:
        UserError: one of them cannot do its part.
    """
    gan, parts = load(cfg.ckpt, cfg.trust, cfg.device), {}
    if not isinstance(gan, GAN):
        raise UserError(f"ckpt={cfg.ckpt} is a checkpoint of {type(gan).__name__}; drawing digits needs a GAN.")
    if not gan.conditional:
        raise UserError(f"ckpt={cfg.ckpt}: this GAN was trained without labels; the demo needs one with digits.")
    for part, fits in PARTS.items():
        parts[part] = model = load(cfg.demo[part], cfg.trust, cfg.device)
        if not fits(model):
            raise UserError(f"demo.{part}={cfg.demo[part]} is a checkpoint of {type(model).__name__}.")
    return Models(gan, **parts)


def answers(cfg: DictConfig) -> Mapping[str, Callable[..., Any]]:
    """The functions that the page calls, by name.

    Reads a stroke first, so that the first drawing is answered as quickly as the others.
    """
    models = loaded(cfg)
    stroke = Image.new("L", (320, 320), "white")
    ImageDraw.Draw(stroke).line([(120, 60), (200, 260)], fill="black", width=16)
    read(models, stroke)
    return {
        "samples": partial(samples, models.gan),
        "blend": partial(blend, models.gan),
        "answer": partial(answer, models),
    }
