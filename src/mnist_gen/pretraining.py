"""What a run starts from or looks at: a model named by its checkpoint, or one trained by a run of its own.

A part of the configuration says which (`pretrained` of a classifier, `gan` of an interpolation): `experiment` and
`overrides`, the words of the model's own command, or `ckpt`.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import lightning as L
from hydra import compose
from omegaconf import DictConfig

from mnist_gen import checkpoint
from mnist_gen.autoencoder import Autoencoder
from mnist_gen.config import CONFIG_NAME, MACHINE, PLACES, check_arguments, composing, flat, plain
from mnist_gen.errors import UserError
from mnist_gen.gan import GAN

SHAPING = ("seed", "data", "model", "trainer", "pretrained")  # the parts of a configuration that weights depend on
ELSEWHERE = (*PLACES, *(f"trainer.{key}" for key in MACHINE))
EXAMPLES: dict[type[L.LightningModule], str] = {Autoencoder: "autoencoder", GAN: "cgan_embed20"}


@runtime_checkable
class Starter(Protocol):
    """A model of which a part can start from an autoencoder's weights."""

    @property
    def starts_pretrained(self) -> bool:
        """Whether it does, as it is configured."""

    def start_from(self, autoencoder: Autoencoder) -> None:
        """Takes the weights."""


def complete(cfg: DictConfig) -> DictConfig:
    """The configuration with the networks of its autoencoder, which its own model refers to.

    Raises:
        UserError: as `model_configuration`.
    """
    if cfg.get("pretrained") is not None:
        model = plain(model_configuration(cfg, "pretrained", Autoencoder))
        cfg.pretrained.model.update({part: value for part, value in model.items() if part in cfg.pretrained.model})
    return cfg


def model_configuration(cfg: DictConfig, part: str, kind: type[L.LightningModule]) -> DictConfig:
    """The configuration of the model that a part of the configuration asks for.

    Raises:
        UserError: its checkpoint cannot be used, or it is of another kind.
    """
    wanted = cfg[part]
    if wanted.ckpt is not None:
        source, model = f"ckpt={wanted.ckpt}", checkpoint.configuration(checkpoint.read(wanted.ckpt), wanted.ckpt).model
        wanted.ckpt = str(Path(wanted.ckpt).absolute())  # a resumed run may start elsewhere
    else:
        source, model = f"experiment={wanted.experiment}", own_run(cfg, part)[0].model
    if model._target_ != f"{kind.__module__}.{kind.__qualname__}":
        found, article = model._target_.rpartition(".")[2], "an" if kind.__name__[0] in "AEIOU" else "a"
        expected = f"{article} {kind.__name__}: name one made by experiment={EXAMPLES[kind]}."
        raise UserError(f"{part}.{source} is a {found}, not {expected}")
    return model


def own_run(cfg: DictConfig, part: str) -> tuple[DictConfig, Path]:
    """The configuration of the model's own run, and its folder: one that holds such a run, or where it is to be kept.

    It keeps its own seed, so that runs with different seeds share it.
    """
    wanted, root = cfg[part], Path(cfg.root).resolve()
    words = [f"experiment={wanted.experiment}", *wanted.overrides]
    check_arguments(str(root / "conf"), words)
    with composing(str(root / "conf")):
        own = compose(CONFIG_NAME, overrides=words)
    own.data.update({key: cfg.data[key] for key in ("dataset", "root", "cache")})
    own.trainer.update({key: cfg.trainer[key] for key in MACHINE})
    settings = _settings(plain(complete(own)))
    for record in sorted(root.glob(f"outputs/{wanted.experiment}/*/metrics.json"), reverse=True):
        if _settings(json.loads(record.read_text())["config"]) == settings:
            return own, record.parent
    digest = hashlib.sha1(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    return own, Path(wanted.folder).resolve() / f"{wanted.experiment}-{digest}".replace("/", "_")


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    return dict(_shaping(config))


def _shaping(config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in flat(config):
        if key.partition(".")[0] in SHAPING and key not in ELSEWHERE and (key, value) != ("pretrained", None):
            yield key, value
