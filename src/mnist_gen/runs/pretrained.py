"""What a run starts from or looks at: a model named by its checkpoint, or one trained by a run of its own.

A part of the configuration says which (`pretrained` of a classifier, `gan` of an interpolation): `experiment` and
`overrides`, the words of the model's own command, or `ckpt`. Among the runs in `outputs` one of that command is found.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from hydra import compose
from omegaconf import DictConfig, OmegaConf

from mnist_gen.errors import UserError
from mnist_gen.runs import checkpoint, layout, trust
from mnist_gen.runs.config import CONFIG_NAME, MACHINE, check_arguments, composing, flat, plain, shaping

SHAPING = (  # the parts of a configuration that a checkpoint's weights depend on
    *("seed", "data", "model", "trainer", "pretrained"),
    *("callbacks.best", "callbacks.judge.val_samples", "scorer"),  # which epoch is the best
)
READER = "mnist_gen.networks.classifiers.Scorer"  # what reads translations


KINDS = {  # what each part asks for, and an experiment that makes one
    "pretrained": ("an Autoencoder", "autoencoder"),
    "autoencoder": ("an Autoencoder", "autoencoder"),
    "gan": ("a GAN without labels", "gan_plain"),
    "cgan": ("a GAN with labels", "cgan_embed20"),
    "reader": ("a Classifier", "scorer_rendered"),
}


@runtime_checkable
class Starter(Protocol):
    """A model of which a part can start from another model's weights."""

    @property
    def starts_from(self) -> str | None:
        """The part of the configuration that says which model's, or None if it starts from none."""

    def start_from(self, model: Any) -> None:
        """Takes the weights."""


def complete(cfg: DictConfig) -> DictConfig:
    """The configuration with the networks of its autoencoder, which its own model refers to; a reader is looked at.

    Raises:
        UserError: as `model_configuration`, or the model refers to an autoencoder and none is chosen.
    """
    if cfg.get("pretrained") is not None:
        model = plain(model_configuration(cfg, "pretrained"))
        cfg.pretrained.model.update({part: value for part, value in model.items() if part in cfg.pretrained.model})
    elif "model" in cfg and any("${pretrained." in str(value) for _, value in flat(OmegaConf.to_container(cfg.model))):
        raise UserError("the model starts from an autoencoder: choose one, such as pretrained=autoencoder.")
    if cfg.get("reader") is not None:
        _check_reader(cfg)
    return cfg


def _check_reader(cfg: DictConfig) -> None:
    """A classifier of something else would read wrongly, and never say so."""
    whole, source = _configuration(cfg, "reader")
    reads, needed = (_shown(plain(some.data)) for some in (whole, cfg))
    if reads != needed or whole.model.network._target_ != READER:
        raise UserError(
            f"reader.{source} is a {whole.model.network._target_} for {_words(reads)}; these translations need a "
            f"{READER} for {_words(needed)}: see experiment=scorer_rendered, and experiment=scorer for a set as it is."
        )


def _shown(data: dict[str, Any]) -> dict[str, Any]:
    """The images on which a run's model is trained, or into which it translates."""
    return {"dataset": data.get("other") or data["dataset"], "rendering": data.get("rendering")}


def _words(data: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in flat(data))


def model_configuration(cfg: DictConfig, part: str) -> DictConfig:
    """The configuration of the model that a part of the configuration asks for.

    Raises:
        UserError: its checkpoint cannot be used, or it is of another kind.
    """
    return _configuration(cfg, part)[0].model


def _configuration(cfg: DictConfig, part: str) -> tuple[DictConfig, str]:
    """The whole of it, and the words that named the model."""
    wanted, (expected, experiment) = cfg[part], KINDS[part]
    if wanted.ckpt is not None:
        source, whole = f"ckpt={wanted.ckpt}", trust.configuration(checkpoint.read(wanted.ckpt), wanted.ckpt)
        wanted.ckpt = str(Path(wanted.ckpt).absolute())  # a resumed run may start elsewhere
    else:
        source, whole = f"experiment={wanted.experiment}", own_run(cfg, part)[0]
    found = _kind(whole.get("model"))
    if found != expected:
        raise UserError(f"{part}.{source} is {found}, not {expected}: name one made by experiment={experiment}.")
    return whole, source


def _kind(model: DictConfig | None) -> str:
    if model is None:
        return "no model"
    name = model._target_.rpartition(".")[2]
    digits = model.get("label") is not None and model.get("clusters") is None  # not groups of alike images
    labels = "" if name != "GAN" else " with labels" if digits else " without labels"
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}{labels}"


def own_run(cfg: DictConfig, part: str) -> tuple[DictConfig, Path]:
    """The configuration of the model's own run, and its folder: one that holds such a run, or where it is to be kept.

    It keeps its own seed, so that runs with different seeds share it.
    """
    wanted, root = cfg[part], Path(cfg.root).resolve()
    words = [f"experiment={wanted.experiment}", *wanted.overrides]
    check_arguments(str(root / "conf"), words)
    with composing(str(root / "conf")):
        own = compose(CONFIG_NAME, overrides=words)
    same = {"root": cfg.data.root, "cache": cfg.data.cache} | _shown(plain(cfg.data))
    own.data.update({key: value for key, value in same.items() if key in own.data and value is not None})
    own.trainer.update({key: cfg.trainer[key] for key in MACHINE})
    if "judge" in own.get("callbacks", {}):
        own.scorer = cfg.scorer
    settings = shaping(plain(complete(own)), SHAPING)
    for path in sorted(root.glob(f"outputs/{wanted.experiment}/*/{layout.METRICS}"), reverse=True):
        record = layout.read_record(path.parent)
        if record is not None and shaping(record["config"], SHAPING) == settings:
            return own, path.parent
    digest = hashlib.sha1(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    return own, Path(wanted.folder).resolve() / f"{wanted.experiment}-{digest}".replace("/", "_")
