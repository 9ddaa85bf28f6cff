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
WEIGHT = Range(0, 10**6, whole=False)
POSITIVE = Range(0, 10**6, whole=False, open="low")
SHARE = Range(0, 1, whole=False)
DECAY = Range(0, 1, whole=False, open="high")
IMAGES = Range(1, 55_000)
TEXT = Text()

KEYS = (  # ranges, and the keys that they apply to; the first pattern that matches a key decides
    (SEED, "seed *.seed"),
    (TEXT, "*.experiment *.folder root data.root data.cache data.dataset data.other out callbacks.best.monitor"),
    (Text(null=True), "*.ckpt *.scorer ckpt scorer data.path callbacks.metrics.reported"),
    (Listed(TEXT), "*.overrides callbacks.progress.shown"),
    (Listed(TEXT, least=1), "callbacks.curves.together"),
    (Listed(TEXT, least=1, null=True, alone=True), "sweep"),
    (Range(0, 9), "callbacks.draw.digit"),
    (Range(0, 9, null=True), "digit"),
    (Range(1, 100_000), "count"),
    (Range(10, 55_000), "labels data.labels"),
    (COUNT, "data.held_out data.epoch_pairs model.patience model.every callbacks.last.every_epochs"),
    (COUNT, "callbacks.confusion.samples study.samples study.latents study.neighbours"),
    (Range(10, 10**6), "study.pairs"),
    (COUNT, "trainer.max_epochs trainer.check_val_every_n_epoch trainer.log_every_n_steps"),
    # data
    (IMAGES, "data.pairs"),
    (replace(IMAGES, null=True), "data.train_images data.batch_size"),
    (Range(1, 10_000), "data.eval_batch_size callbacks.project.count study.images trainer.accumulate_grad_batches"),
    (replace(SEED, null=True), "data.labels_seed"),
    (Range(1, 1000), "data.draws model.draws model.views model.neighbours"),
    (Range(0, 1000), "data.folds model.folds"),
    (Range(0, 5000), "data.watched"),
    (Range(0, 100, whole=False), "data.noise data.affine data.deform model.augment model.noise model.encoder_rate"),
    (Range(1, 15), "data.rendering.width"),
    (Range(0, 1000, whole=False, open="low"), "data.rendering.period"),
    (Range(-360, 360, whole=False), "data.rendering.degrees"),
    (Range(-10, 10, whole=False), "data.rendering.shear"),
    (Range(1, 32), "data.rendering.block model.network.tokens.size model.side"),
    (Range(2, 256), "data.rendering.shades"),
    (Choice(("paired", "loose", "unpaired")), "data.pairing"),
    # model
    (Group(), "model.clusters model.encoder model.decoder model.generator.decoder *.space.encoder *.space.decoder"),
    (Group(), "pretrained.model.encoder pretrained.model.decoder autoencoder.model.encoder autoencoder.model.decoder"),
    (Choice((None, "onehot", "embedding")), "model.label"),
    (Choice(("before", "after")), "model.concat"),
    (Choice(("scratch", "pretrained", "pretrained_frozen")), "model.generator.start"),
    (Choice(("sigmoid", "conv_tanh")), "model.generator.last"),
    (Choice(("relu", "leaky_relu")), "model.discriminator.activation"),
    (Choice(("nothing", "outputs", "pairs")), "model.strategy.sees"),
    (Choice(("frozen", "finetune", "scratch")), "model.arm"),
    (Choice(("raw", "standardized", "whitened")), "model.latents"),
    (replace(SIZE, null=True), "pretrained.model.latent_dim autoencoder.model.latent_dim"),
    (Range(2, 1000), "model.clusters.count"),
    (Range(2, 55_000), "model.clusters.landmarks"),
    (Range(2, 1024), "model.generator.decoder.channels model.decoder.channels model.translator.decoder_channels"),
    (Range(1, 1024), "*.channels *.encoder_channels *.decoder_channels *.out model.discriminator.group"),
    (SIZE, "*.latent_dim *.out_dim *.embedding_dim *.hidden *.dim"),
    (Range(0, 64), "model.translator.blocks"),
    (Range(1, 64), "model.network.depth model.network.heads"),
    (Range(1, 31), "model.teacher.kernel"),
    (Range(0, 10, whole=False), "optimizer.lr *.weight_decay"),  # a schedule may reach 0
    (Range(0, 10, whole=False, open="low"), "*.lr"),
    (DECAY, "*.dropout model.ema_decay"),
    (Listed(DECAY, 2, 2), "*.betas"),
    (SHARE, "optimizer.eps model.mismatch model.decay_from data.rendering.depth"),
    (Range(0, 1, whole=False, open="low"), "model.loss.real_target"),
    (Range(0, 1, whole=False, open="low, high"), "model.alpha"),
    (WEIGHT, "model.r1 model.r2 model.strategy.l1 model.strategy.cycle model.strategy.identity"),
    (Range(0, 10**6), "model.warmup trainer.num_sanity_val_steps"),
    # callbacks
    (replace(POSITIVE, null=True), "callbacks.last.every_seconds trainer.gradient_clip_val"),
    (Range(0, 3600, whole=False), "callbacks.progress.every_seconds"),
    (Choice(("min", "max")), "callbacks.best.mode"),
    (Range(6, 10**6), "callbacks.metrics.val_samples callbacks.metrics.test_samples"),
    # study
    (Listed(COUNT, least=1), "study.components"),
    (Range(3, 1001), "study.steps"),
    (Listed(Range(1, 31), least=1), "study.kernels"),
    (Range(1, 1024, null=True), "study.heads"),
    (POSITIVE, "study.alpha"),
    (Listed(POSITIVE, least=1), "study.alphas"),
    # trainer
    (Range(0, 10**9, null=True), "trainer.min_epochs trainer.min_steps"),
    (Share(1, 10**6, null=True), "trainer.limit_train_batches trainer.limit_val_batches trainer.limit_test_batches"),
    (Choice(("norm", "value", None)), "trainer.gradient_clip_algorithm"),
    (Range(-1, 10**9), "trainer.max_steps"),
    (Choice((True, False, "warn", None)), "trainer.deterministic"),
    (Choice((True, False)), "trainer.detect_anomaly"),
    (Choice((None, "simple", "advanced", "pytorch")), "trainer.profiler"),
    (Choice(("auto", "ddp")), "trainer.strategy"),
    (Choice(("32-true", "bf16-mixed")), "trainer.precision"),
    (Range(1, 1024, words=("auto",)), "trainer.devices"),
)
RANGES: Mapping[str, Any] = {pattern: allowed for allowed, patterns in KEYS for pattern in patterns.split()}


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
