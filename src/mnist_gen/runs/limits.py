"""The range of each key in a configuration, in one table. It is checked before anything is created or loaded.

Conditions on several keys or on the data are checked where they are used. Imports no torch.
"""

from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from mnist_gen.errors import UserError
from mnist_gen.runs.ranges import GROUP, NULL, TEXT, Allowed, choice, is_number, listed, number, whole

SEED = whole(0, 2**32 - 1)
COUNT = whole(1, 10**6)
SIZE = whole(1, 4096)
IMAGES = whole(1, 55_000)
POSITIVE = number(0, 10**6, "(]")
DECAY = number(0, 1, "[)")
SHARE = Allowed("a share of the run, such as 20%", tuple(f"{share}%" for share in range(1, 101)).__contains__)

KEYS = (  # ranges, and the keys that they apply to; the first pattern that matches a key decides
    (SEED, "seed *.seed"),
    (TEXT | NULL, "run.* logger.*.folder"),
    (TEXT, "*.experiment *.folder root data.root data.cache data.dataset data.other"),
    (TEXT | NULL, "out"),
    (TEXT | listed(TEXT, least=1) | NULL, "images"),
    (TEXT, "callbacks.best.monitor callbacks.early_stopping.monitor callbacks.progress.metric"),
    (listed(TEXT), "tags trust"),
    (TEXT | NULL, "*.ckpt *.scorer ckpt scorer data.path callbacks.metrics.reported"),
    (listed(TEXT), "*.overrides callbacks.progress.shown"),
    (listed(TEXT, least=1), "callbacks.curves.together"),
    (TEXT | listed(TEXT, least=1) | NULL, "sweep"),
    (whole(0, 9), "callbacks.draw.digit"),
    (listed(COUNT | SHARE) | NULL, "callbacks.draw.at_epochs"),
    (whole(0, 9) | listed(whole(0, 9), 1, 10) | NULL, "digit"),
    (whole(0, 9) | NULL, "to"),
    (whole(2, 1000), "steps"),
    (whole(1024, 65535), "port"),
    (TEXT, "demo.* answer.*"),
    (choice("labels", "latents"), "between"),
    (choice("cpu", "cuda", "mps"), "device"),
    (choice("onnx", "torch_export", "safetensors"), "format"),
    (whole(1, 100_000), "count"),
    (whole(10, 55_000), "labels data.labels"),
    (COUNT, "data.held_out data.epoch_pairs model.patience model.every callbacks.last.every_epochs"),
    (COUNT, "callbacks.early_stopping.patience callbacks.confusion.samples study.latents study.neighbours"),
    (COUNT, "trainer.max_epochs trainer.check_val_every_n_epoch trainer.log_every_n_steps"),
    # data
    (IMAGES, "data.pairs"),
    (IMAGES | NULL, "data.train_images data.batch_size"),
    (whole(1, 10_000), "data.eval_batch_size callbacks.project.count study.images trainer.accumulate_grad_batches"),
    (SEED | NULL, "data.labels_seed"),
    (whole(1, 1000), "data.draws model.draws model.views model.neighbours"),
    (whole(0, 1000), "data.folds model.folds"),
    (whole(0, 5000), "data.watched"),
    (number(0, 100), "data.noise data.affine data.deform model.augment model.noise model.encoder_rate"),
    (whole(1, 15), "data.rendering.width"),
    (number(0, 1000, "(]"), "data.rendering.period"),
    (number(-360, 360), "data.rendering.degrees"),
    (number(-10, 10), "data.rendering.shear"),
    (whole(1, 32), "data.rendering.block model.network.tokens.size model.side"),
    (whole(2, 256), "data.rendering.shades"),
    (choice("paired", "loose", "unpaired"), "data.pairing"),
    # model
    (
        GROUP | NULL,
        "model.pseudo_labels *model.encoder *model.decoder *.generator.decoder *.space.encoder *.space.decoder",
    ),
    (choice(None, "onehot", "embedding"), "model.label"),
    (choice("before", "after"), "model.concat"),
    (choice("scratch", "pretrained", "pretrained_frozen"), "model.generator.start"),
    (choice("sigmoid", "conv_tanh"), "model.generator.last"),
    (choice("relu", "leaky_relu"), "model.discriminator.activation"),
    (choice("nothing", "outputs", "pairs"), "model.strategy.sees"),
    (choice("frozen", "finetune", "scratch"), "model.arm"),
    (choice("raw", "standardized", "whitened"), "model.latents"),
    (SIZE | NULL, "pretrained.model.latent_dim autoencoder.model.latent_dim classifier.model.latent_dim"),
    (whole(2, 1000), "model.pseudo_labels.count"),
    (whole(2, 55_000), "model.pseudo_labels.landmarks"),
    (whole(2, 1024), "model.generator.decoder.channels model.decoder.channels model.translator.decoder_channels"),
    (whole(1, 1024), "*.channels *.encoder_channels *.decoder_channels *.out model.discriminator.group"),
    (SIZE, "*.latent_dim *.out_dim *.embedding_dim *.hidden *.dim"),
    (whole(0, 64), "model.translator.blocks"),
    (whole(1, 64), "model.network.depth model.network.heads"),
    (whole(1, 31), "model.teacher.kernel"),
    (number(0, 10), "optimizer.lr *.weight_decay"),  # a schedule may reach 0
    (number(0, 10, "(]"), "*.lr model.latent_scale"),
    (DECAY, "*.dropout model.ema_decay"),
    (listed(DECAY, 2, 2), "*.betas"),
    (number(0, 1), "optimizer.eps model.mismatch model.decay_from data.rendering.depth"),
    (number(0, 1, "(]"), "model.loss.real_target model.penalised model.anneal"),
    (number(0, 1, "()"), "model.alpha"),
    (number(0, 10**6), "model.r1 model.r2 model.strategy.l1 model.strategy.cycle model.strategy.identity"),
    (whole(0, 10**6), "model.warmup trainer.num_sanity_val_steps"),
    # callbacks
    (POSITIVE | NULL, "callbacks.last.every_seconds trainer.gradient_clip_val"),
    (choice("min", "max"), "callbacks.best.mode callbacks.progress.mode callbacks.early_stopping.mode"),
    (whole(6, 10**6), "callbacks.metrics.val_samples callbacks.metrics.test_samples"),
    # study
    (listed(COUNT, least=1), "study.components"),
    (whole(6, 10**6), "study.samples"),  # density looks at five neighbours
    (whole(10, 10**6), "study.pairs"),
    (whole(3, 1001), "study.steps"),
    (listed(listed(whole(0, 9), 2, 2)), "study.digits"),
    (listed(whole(1, 31), least=1), "study.kernels"),
    (POSITIVE, "study.alpha"),
    (listed(POSITIVE, least=1), "study.alphas"),
    # trainer
    (whole(0, 10**9) | NULL, "trainer.min_epochs trainer.min_steps"),
    (whole(1, 10**6) | number(0, 1, "(]") | NULL, "trainer.limit_*_batches"),
    (choice("norm", "value", None), "trainer.gradient_clip_algorithm"),
    (whole(-1, 10**9), "trainer.max_steps"),
    (choice(True, False, "warn", None), "trainer.deterministic"),
    (choice(True, False), "quiet trainer.detect_anomaly trainer.capture"),
    (choice(None, "simple", "advanced", "pytorch"), "trainer.profiler"),
    (choice("auto", "ddp"), "trainer.strategy"),
    (choice("auto", "32-true", "bf16-mixed"), "trainer.precision"),
    (whole(1, 1024) | choice("auto"), "trainer.devices"),
)
RANGES: dict[str, Allowed] = {pattern: allowed for allowed, patterns in KEYS for pattern in patterns.split()}


def range_of(key: str) -> Allowed | None:
    """The range of a key; None if it has none."""
    return next((allowed for pattern, allowed in RANGES.items() if fnmatchcase(key, pattern)), None)


def check_value(key: str, value: Any, has_range: bool = True) -> None:
    """Checks that one value lies in its key's range and is finite; a reference, `${seed}`, passes."""
    if isinstance(value, str) and "${" in value:
        return
    allowed, text = range_of(key) if has_range else None, "null" if value is None else str(value)
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    if allowed is not None and not allowed.allows(value):
        raise UserError(f"{key}={shown}: must be {allowed.text}.")
    if isinstance(value, int | float) and not isinstance(value, bool) and not is_number(value):
        raise UserError(f"{key}={shown}: must be a finite number.")


def check(config: Any, apart: Collection[str] = (), key: str = "", owners: Mapping[str, str] | None = None) -> None:
    """Checks every value of a configuration, or of its part `key`, except the dotted keys in `apart`.

    Options of a class that is neither ours nor torch's need only be finite. `owners` are the classes in the whole
    configuration, if `config` is a part of it.
    """
    classes = owners_of(config) if owners is None else owners
    for inner, value in walk(config, key, into=dict):
        if inner not in apart:
            check_value(inner, value, has_range=_owner(inner, classes).startswith(("mnist_gen.", "torch.")))


def owners_of(config: Any) -> dict[str, str]:
    """The classes in a configuration, by the dotted key of the part that they build."""
    parts = ((key, value) for key, value in walk(config, into=dict) if isinstance(value, dict))
    return {key: str(value["_target_"]) for key, value in parts if "_target_" in value}


def _owner(key: str, owners: Mapping[str, str]) -> str:
    """The class whose option a key is; ours, if it lies in no part with a class."""
    while key and key not in owners:
        key = key.rpartition(".")[0]
    return owners.get(key, "mnist_gen.")


def walk(value: Any, key: str = "", into: Any = dict | list | tuple) -> Iterator[tuple[str, Any]]:
    """Each value in nested containers, and these containers too, with its dotted key."""
    yield key, value
    if isinstance(value, into):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from walk(inner, f"{key}.{name}" if key else str(name), into)


def within(key: str, parts: Collection[str]) -> bool:
    """Whether a dotted key is one of some parts of a configuration, or lies inside one."""
    return any(f"{key}.".startswith(f"{part}.") for part in parts)
