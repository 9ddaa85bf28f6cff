"""The autoencoder that a classifier starts from: one named by its checkpoint, or one trained by a run of its own.

The configuration's `pretrained` says which: `experiment` and `overrides`, the words of the autoencoder's own command,
or `ckpt`.
"""

import hashlib
import json
from pathlib import Path

from hydra import compose
from omegaconf import DictConfig

from mnist_gen import checkpoint
from mnist_gen.autoencoder import Autoencoder
from mnist_gen.config import CONFIG_NAME, MACHINE, PLACES, check_arguments, composing, flat, plain
from mnist_gen.errors import UserError

SHAPING = ("seed", "data", "model", "trainer")  # the parts of a configuration that the weights depend on
TARGET = f"{Autoencoder.__module__}.{Autoencoder.__qualname__}"


def complete(cfg: DictConfig) -> DictConfig:
    """The configuration with the encoder that belongs to its autoencoder.

    Raises:
        UserError: the checkpoint cannot be used, or the experiment makes no autoencoder.
    """
    ckpt = cfg.pretrained.ckpt
    if ckpt is not None:
        cfg.pretrained.ckpt = str(Path(ckpt).absolute())  # a resumed run may start elsewhere
        source, model = f"pretrained.ckpt={ckpt}", checkpoint.configuration(checkpoint.read(ckpt), ckpt).model
    else:
        source, model = f"pretrained.experiment={cfg.pretrained.experiment}", own_run(cfg)[0].model
    if model._target_ != TARGET:
        found = model._target_.rpartition(".")[2]
        raise UserError(f"{source} is a {found}, not an Autoencoder: name one made by experiment=autoencoder.")
    cfg.model.latent_dim, cfg.model.encoder = model.latent_dim, plain(model.encoder)
    return cfg


def needed(cfg: DictConfig) -> bool:
    """Whether the run starts from trained weights."""
    return cfg.get("pretrained") is not None and cfg.model.get("arm") != "scratch"


def own_run(cfg: DictConfig) -> tuple[DictConfig, Path]:
    """The configuration of the autoencoder's own run, and its folder, which other runs find again.

    It keeps its own seed, so that runs with different seeds share it.
    """
    conf = Path(cfg.root).resolve() / "conf"
    words = [f"experiment={cfg.pretrained.experiment}", *cfg.pretrained.overrides]
    check_arguments(str(conf), words)
    with composing(str(conf)):
        own = compose(CONFIG_NAME, overrides=words)
    own.data.update({key: cfg.data[key] for key in ("dataset", "root", "cache")})
    own.trainer.update({key: cfg.trainer[key] for key in MACHINE})
    elsewhere = (*PLACES, *(f"trainer.{key}" for key in MACHINE))
    shaping = (pair for pair in flat(plain(own)) if pair[0].partition(".")[0] in SHAPING)
    settings = {key: value for key, value in shaping if key not in elsewhere}
    digest = hashlib.sha1(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    return own, Path(cfg.pretrained.folder).resolve() / f"{cfg.pretrained.experiment}-{digest}"


def load(ckpt: str | Path) -> Autoencoder:
    """The trained autoencoder, on the CPU."""
    autoencoder = checkpoint.load(ckpt)
    assert isinstance(autoencoder, Autoencoder)
    return autoencoder
