"""Models that a run starts from or compares: named by a checkpoint, found in `outputs`, or trained once.

A part of the configuration names each model, such as `pretrained` or `gan`: by `ckpt`, or by the `experiment` and
`overrides` of its own command.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from hydra import compose
from omegaconf import DictConfig, OmegaConf

from mnist_gen.errors import UserError
from mnist_gen.runs import checkpoint, layout, trust
from mnist_gen.runs.command_line import check_arguments
from mnist_gen.runs.config import CONFIG_NAME, MACHINE, chosen, composing, flat, plain, shaping, sources_of_job

SHAPING = (  # the parts of a configuration that determine a checkpoint's weights
    *("seed", "data", "model", "trainer", "pretrained", "classifier"),
    *("callbacks.best", "callbacks.metrics.val_samples", "scorer"),  # these choose the best epoch
)
SAME_DATA = ("root", "cache", "path", "labels", "labels_seed", "balanced")  # as in the run that asks for the model
TARGET_SCORER = "mnist_gen.networks.classifiers.Scorer"

KINDS = {  # the kind of model that each part needs, and an experiment that trains one
    "pretrained": ("an Autoencoder", "autoencoder"),
    "classifier": ("a SemiSupervised", "transfer_semi"),
    "autoencoder": ("an Autoencoder", "autoencoder"),
    "gan": ("a GAN without labels", "gan_plain"),
    "cgan": ("a GAN with labels", "cgan_embed20"),
    "target_scorer": ("a Classifier", "scorer_rendered"),
}


REFERRED = {  # parts whose networks a model's configuration refers to, and how to choose one
    "pretrained": "such as pretrained=autoencoder",
    "classifier": "+pretrained@classifier=classifier",
}


@runtime_checkable
class Starter(Protocol):
    """A model that can start from the weights of others."""

    @property
    def starts_from(self) -> Sequence[str]:
        """The parts of the configuration that name the others; none if it starts from random weights."""

    def start_from(self, **models: Any) -> None:
        """Copies the weights of these parts' models."""


def complete(cfg: DictConfig) -> DictConfig:
    """Fills in the networks of the models that the model refers to, and checks the target scorer."""
    references = "" if cfg.get("model") is None else str(OmegaConf.to_container(cfg.model))
    for part, remedy in REFERRED.items():
        if cfg.get(part) is not None:
            model = plain(model_configuration(cfg, part))
            cfg[part].model.update({name: value for name, value in model.items() if name in cfg[part].model})
        elif f"${{{part}." in references:
            raise UserError(f"the model starts from {KINDS[part][0]}: choose one, {remedy}.")
    if cfg.get("target_scorer") is not None:
        _check_target_scorer(cfg)
    return cfg


def _check_target_scorer(cfg: DictConfig) -> None:
    """Checks that the classifier was trained on the images into which this run translates."""
    whole, source = _configuration(cfg, "target_scorer")
    network, data = whole.model.network._target_, [_shown(plain(some.data)) for some in (whole, cfg)]
    if data[0] != data[1] or network != TARGET_SCORER:
        reads, needed = (", ".join(f"{key}={value}" for key, value in flat(some)) for some in data)
        raise UserError(
            f"target_scorer.{source} is a {network} for {reads}; these translations need a {TARGET_SCORER} for "
            f"{needed}: see experiment=scorer_rendered, or experiment=scorer."
        )


def _shown(data: dict[str, Any]) -> dict[str, Any]:
    """The data set and rendering on which a run trains its model, or into which it translates."""
    return {"dataset": data.get("other") or data.get("dataset"), "rendering": data.get("rendering")}


def model_configuration(cfg: DictConfig, part: str) -> DictConfig:
    """The configuration of the model that a part of the configuration names."""
    return _configuration(cfg, part)[0].model


def _configuration(cfg: DictConfig, part: str) -> tuple[DictConfig, str]:
    """Its run's whole configuration, and the option that named the model."""
    wanted, (expected, experiment) = cfg[part], KINDS[part]
    if wanted.ckpt is not None:
        content = checkpoint.read(wanted.ckpt)
        source, whole = f"ckpt={wanted.ckpt}", trust.configuration(content, wanted.ckpt, trusted=cfg.trust)
        wanted.ckpt = str(Path(wanted.ckpt).absolute())  # a resumed run may start in another directory
    else:
        source, whole = f"experiment={wanted.experiment}", own_run(cfg, part)[0]
    found = _kind(whole.get("model"))
    if found != expected:
        raise UserError(f"{part}.{source} is {found}, not {expected}: name one made by experiment={experiment}.")
    return whole, source


def _kind(model: DictConfig | None) -> str:
    """A model in words, as in `KINDS`."""
    if model is None:
        return "no model"
    name = model._target_.rpartition(".")[2]
    if name == "GAN":
        pseudo_labels = (model.get("pseudo_labels") or {}).get("_target_", "")
        has_digits = model.get("label") is not None and not pseudo_labels.endswith(".Clusters")
        return "a GAN with labels" if has_digits else "a GAN without labels"
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


def own_run(cfg: DictConfig, part: str) -> tuple[DictConfig, Path]:
    """The configuration of the model's own run, and the folder that holds such a run or will hold it.

    The run keeps its own seed, so that runs with different seeds share it.
    """
    wanted, root, (first, *others) = cfg[part], Path(cfg.root).resolve(), sources_of_job()
    debug = chosen("debug")
    words = [f"experiment={wanted.experiment}", *wanted.overrides, *([f"debug={debug}"] if debug else [])]
    words = check_arguments(first, words, others)
    with composing([first, *others]):
        own = compose(CONFIG_NAME, overrides=words)
    same = {key: cfg.data.get(key) for key in SAME_DATA} | _shown(plain(cfg.data))
    own.data.update({key: value for key, value in same.items() if key in own.data and value is not None})
    own.run.experiment = wanted.experiment
    own.trainer.update({key: cfg.trainer[key] for key in MACHINE})
    if "scorer" in own.get("callbacks", {}).get("metrics", {}):
        own.scorer = cfg.scorer
    settings = shaping(plain(complete(own)), SHAPING)
    for path in sorted(root.glob(f"outputs/{wanted.experiment}/*/{layout.METRICS}"), reverse=True):
        record = layout.read_record(path.parent)
        if record is not None and shaping(record["config"], SHAPING) == settings:
            return own, path.parent
    digest = hashlib.sha1(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    return own, Path(wanted.folder).resolve() / f"{wanted.experiment}-{digest}".replace("/", "_")
