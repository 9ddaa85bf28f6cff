"""Small models with random weights, exported as those in the package are, and pictures of a 7."""

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from PIL import Image, ImageDraw

from mnist_gen.inference import stored
from mnist_gen.runs import pretrained
from mnist_gen.runs.config import plain
from tests.conftest import TINY, composed

SEVEN = [(120, 90), (290, 90), (190, 310)]
KINDS = {  # names in the package: an experiment, and what makes it small
    "cgan": ("cgan_embed20", [word for word in TINY if word.startswith("model.")]),
    "plain_gan": ("gan_plain", [word for word in TINY if word.startswith("model.")]),
    "clusters": (
        "gan",
        [
            *("model/pseudo_labels=clusters_of_pixels", "model.generator.decoder.channels=4"),
            *("model.pseudo_labels.landmarks=12", "model.discriminator.channels=2"),
        ],
    ),
    "autoencoder": ("autoencoder", []),
    "classifier": ("transfer_semi", ["pretrained=autoencoder"]),
    "outlines": ("translate_cgan_paired", ["model.translator.channels=4", "model.discriminator.channels=2"]),
    "heads": ("transfer_linear_frozen", []),
    "scorer": ("scorer", []),
}


def build(name: str, *more: str):
    """A model with random weights, and its configuration."""
    experiment, words = KINDS[name]
    torch.manual_seed(0)
    config = pretrained.complete(composed(f"experiment={experiment}", *words, *more)).model
    return instantiate(config).eval().requires_grad_(False), plain(config)


@pytest.fixture(scope="session")
def packaged(tmp_path_factory) -> Path:
    """A folder with all kinds of models."""
    folder = tmp_path_factory.mktemp("models")
    for name in KINDS:
        model, config = build(name)
        stored.save(folder / f"{name}.safetensors", model, (config, {"what": f"A {name}."}), half=False)
    return folder


@pytest.fixture
def package(packaged, monkeypatch) -> Path:
    """The package now holds these models."""
    from mnist_gen.runs import layout

    monkeypatch.setattr(layout, "MODELS", packaged)
    monkeypatch.setattr(layout, "PACKAGED", sorted(KINDS))
    return packaged


def drawing(path, lines=(SEVEN,), width=20, paper="white", ink="black", size=(400, 400), mode="RGB"):
    image = Image.new("RGBA", size, paper)
    for line in lines:
        ImageDraw.Draw(image).line(line, fill=ink, width=width)
    image.convert(mode).save(path)
    return path
