"""The range of each key in a configuration, in one table. It is checked before anything is created or loaded.

Conditions on several keys or on the data are checked where they are used. Imports no torch.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from mnist_gen.errors import UserError
from mnist_gen.runs.ranges import Choice, Group, Listed, Range, Share, Text, is_finite

SEED = Range(0, 2**32 - 1)
COUNT = Range(1, 10**6)
SIZE = Range(1, 4096)
WIDTH = Range(1, 1024)
STRENGTH = Range(0, 100, whole=False)
WEIGHT = Range(0, 10**6, whole=False)
RATE = Range(0, 10, whole=False, open="low")
SHARE = Range(0, 1, whole=False)
DECAY = Range(0, 1, whole=False, open="high")
SOME = Share(1, 10**6, null=True)
WORDS = Listed(Text())

RANGES: Mapping[str, Any] = {  # the first pattern that matches a key applies
    "seed": SEED,
    "*.seed": SEED,
    "*.experiment": Text(),
    "*.overrides": WORDS,
    "*.folder": Text(),
    "*.ckpt": Text(null=True),
    "*.scorer": Text(null=True),
    "data.path": Text(null=True),
    **dict.fromkeys(("ckpt", "scorer"), Text(null=True)),
    **dict.fromkeys(("root", "data.root", "data.cache", "data.dataset", "data.other", "out"), Text()),
    "sweep": Listed(Text(), least=1, null=True, alone=True),
    "digit": Range(0, 9, null=True),
    "count": Range(1, 100_000),
    "labels": Range(10, 55_000),
    # data
    "data.train_images": Range(1, 55_000, null=True),
    "data.batch_size": Range(1, 55_000, null=True),
    "data.eval_batch_size": Range(1, 10_000),
    "data.labels": Range(10, 55_000),
    "data.labels_seed": Range(0, 2**32 - 1, null=True),
    "data.draws": Range(1, 1000),
    "data.folds": Range(0, 1000),
    "data.held_out": COUNT,
    "data.watched": Range(0, 5000),
    "data.pairs": Range(1, 55_000),
    "data.epoch_pairs": COUNT,
    **dict.fromkeys(("data.noise", "data.affine", "data.deform"), STRENGTH),
    "data.rendering.width": Range(1, 15),
    "data.rendering.depth": SHARE,
    "data.rendering.period": Range(0, 1000, whole=False, open="low"),
    "data.rendering.degrees": Range(-360, 360, whole=False),
    "data.rendering.shear": Range(-10, 10, whole=False),
    "data.rendering.block": Range(1, 32),
    "data.rendering.shades": Range(2, 256),
    # model
    **dict.fromkeys(
        ("model.clusters", "model.encoder", "model.decoder", "*.space.encoder", "*.space.decoder"), Group()
    ),
    **dict.fromkeys(("model.generator.decoder", "pretrained.model.encoder", "pretrained.model.decoder"), Group()),
    **dict.fromkeys(("autoencoder.model.encoder", "autoencoder.model.decoder"), Group()),
    "model.label": Choice((None, "onehot", "embedding")),
    **dict.fromkeys(("pretrained.model.latent_dim", "autoencoder.model.latent_dim"), replace(SIZE, null=True)),
    **dict.fromkeys(("*.latent_dim", "*.out_dim", "*.embedding_dim"), SIZE),
    "model.clusters.count": Range(2, 1000),
    "model.clusters.landmarks": Range(2, 55_000),
    **dict.fromkeys(("model.generator.decoder.channels", "model.decoder.channels"), Range(2, 1024)),
    **dict.fromkeys(("*.channels", "*.encoder_channels", "*.decoder_channels", "*.out"), WIDTH),
    **dict.fromkeys(("*.hidden", "*.dim"), SIZE),
    "model.translator.blocks": Range(0, 64),
    "model.discriminator.group": WIDTH,
    **dict.fromkeys(("model.network.depth", "model.network.heads"), Range(1, 64)),
    "model.network.tokens.size": Range(1, 32),
    "optimizer.lr": Range(0, 10, whole=False),  # of a running optimizer: a schedule may reach 0
    "optimizer.eps": SHARE,
    "*.dropout": DECAY,
    "*.lr": RATE,
    "*.betas": Listed(DECAY, 2, 2),
    "*.weight_decay": Range(0, 10, whole=False),
    "model.encoder_rate": STRENGTH,
    **dict.fromkeys(
        ("model.r1", "model.r2", "model.strategy.l1", "model.strategy.cycle", "model.strategy.identity"), WEIGHT
    ),
    "model.mismatch": SHARE,
    "model.warmup": Range(0, 10**6),
    "model.decay_from": SHARE,
    "model.ema_decay": DECAY,
    "model.loss.real_target": Range(0, 1, whole=False, open="low"),
    **dict.fromkeys(("model.augment", "model.noise"), STRENGTH),
    "model.views": Range(1, 1000),
    "model.draws": Range(1, 1000),
    "model.folds": Range(0, 1000),
    "model.patience": COUNT,
    "model.neighbours": Range(1, 1000),
    "model.every": COUNT,
    "model.alpha": Range(0, 1, whole=False, open="low, high"),
    "model.side": Range(1, 32),
    "model.teacher.kernel": Range(1, 31),
    # callbacks
    "callbacks.last.every_epochs": COUNT,
    "callbacks.last.every_seconds": Range(0, 10**6, whole=False, open="low", null=True),
    "callbacks.progress.every_seconds": Range(0, 3600, whole=False),
    "callbacks.progress.shown": WORDS,
    "callbacks.curves.together": Listed(Text(), least=1),
    "callbacks.best.monitor": Text(),
    "callbacks.best.mode": Choice(("min", "max")),
    "callbacks.draw.digit": Range(0, 9),
    "callbacks.metrics.val_samples": Range(6, 10**6),
    "callbacks.metrics.test_samples": Range(6, 10**6),
    "callbacks.confusion.samples": COUNT,
    "callbacks.project.count": Range(1, 10_000),
    "callbacks.metrics.reported": Text(null=True),
    # study
    **dict.fromkeys(("study.samples", "study.latents"), COUNT),
    "study.components": Listed(COUNT, least=1),
    "study.pairs": COUNT,
    "study.steps": Range(3, 1001),
    "study.neighbours": COUNT,
    "study.images": Range(1, 10_000),
    "study.kernels": Listed(Range(1, 31), least=1),
    "study.heads": Range(1, 1024, null=True),
    "study.alpha": Range(0, 10**6, whole=False, open="low"),
    "study.alphas": Listed(Range(0, 10**6, whole=False, open="low"), least=1),
    # trainer
    "trainer.max_epochs": COUNT,
    **dict.fromkeys(("trainer.min_epochs", "trainer.min_steps"), Range(0, 10**9, null=True)),
    "trainer.check_val_every_n_epoch": COUNT,
    **dict.fromkeys(("trainer.limit_train_batches", "trainer.limit_val_batches", "trainer.limit_test_batches"), SOME),
    "trainer.accumulate_grad_batches": Range(1, 10**4),
    "trainer.gradient_clip_val": Range(0, 10**6, whole=False, open="low", null=True),
    "trainer.gradient_clip_algorithm": Choice(("norm", "value", None)),
    "trainer.max_steps": Range(-1, 10**9),
    "trainer.log_every_n_steps": COUNT,
    "trainer.num_sanity_val_steps": Range(0, 10**6),
    "trainer.deterministic": Choice((True, False, "warn", None)),
    "trainer.detect_anomaly": Choice((True, False)),
    "trainer.profiler": Choice((None, "simple", "advanced", "pytorch")),
    "trainer.strategy": Choice(("auto", "ddp")),
    "trainer.devices": Range(1, 1024, words=("auto",)),
}


def range_of(key: str) -> Any:
    """The range of a key; None if it has none."""
    return next((allowed for pattern, allowed in RANGES.items() if fnmatchcase(key, pattern)), None)


def check_value(key: str, value: Any) -> None:
    """Checks one value.

    Raises:
        UserError: it is outside the key's range, or not finite.
    """
    allowed = range_of(key)
    if isinstance(value, str) and "${" in value:  # the referenced key is checked
        return
    if allowed is not None and not allowed.allows(value):
        raise UserError(f"{key}={_shown(value)}: must be {allowed}.")
    if isinstance(value, int | float) and not is_finite(value):
        raise UserError(f"{key}={_shown(value)}: must be a finite number.")


def check(config: Mapping[str, Any], apart: Collection[str] = ()) -> None:
    """Checks every value of a configuration.

    Args:
        config: nested dicts.
        apart: dotted keys to skip.

    Raises:
        UserError: as `check_value`, for the first wrong value.
    """
    for key, value in _values(config):
        if key not in apart:
            check_value(key, value)


def _values(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested dicts, and the dicts themselves."""
    if prefix:
        yield prefix, config
    for key, value in config.items() if isinstance(config, Mapping) else ():
        yield from _values(value, f"{prefix}.{key}" if prefix else str(key))


def _shown(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
