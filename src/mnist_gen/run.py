"""The tasks. Each takes the composed configuration and leaves its work in files."""

import logging
import math
import time
import warnings
from pathlib import Path
from typing import Any

import lightning as L
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import TensorBoardLogger
from numpy import savez_compressed
from omegaconf import DictConfig, OmegaConf

from mnist_gen import checkpoint, fidelity, figures, pretraining, records
from mnist_gen.callbacks import LAST, BestCheckpoint, EmbedConfig, how_to_go_on
from mnist_gen.claims import adversarial, markdown, transfer, translation, translators
from mnist_gen.config import MACHINE, PLACES, plain
from mnist_gen.data import ImageData
from mnist_gen.drawing import Draw
from mnist_gen.errors import Interrupted, UserError
from mnist_gen.gan import GAN
from mnist_gen.studies.adversarial import pictures as pictures_of_gans
from mnist_gen.studies.translation import pictures as pictures_of_translations

log = logging.getLogger(__name__)
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no devices, tips, file names
warnings.filterwarnings("ignore", message=".*(LeafSpec|many workers|is not empty|in eval mode)")


def fit(cfg: DictConfig) -> float | None:
    """Trains, tests the best checkpoint and returns its validation score.

    With `ckpt` the run goes on in its own folder under the checkpoint's own configuration. A folder that holds the
    same run already (a sweep started again) is completed, or left alone if it is complete.

    Raises:
        UserError: the folder holds a run of another configuration, or what the modules raise.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    if cfg.ckpt is not None:
        return _fit(_own_configuration(cfg), folder, Path(cfg.ckpt), going_on=True)
    if cfg.scorer is not None:
        cfg.scorer = str(Path(cfg.scorer).absolute())  # a resumed run may start elsewhere
    return _fit(pretraining.complete(cfg), folder, folder / LAST)


def _fit(cfg: DictConfig, folder: Path, ckpt: Path, going_on: bool = False) -> float | None:
    complete = records.complete(folder, cfg, ckpt, may_differ=going_on)
    if complete is not None:
        log.info("%s is complete: nothing to do.", folder)
        return complete["objective"]
    data, model, trainer = _assemble(cfg, folder)
    if isinstance(model, pretraining.Starter) and model.starts_from is not None and not ckpt.exists():
        if cfg.get(model.starts_from) is None:
            raise UserError(f"the model starts from a {model.starts_from}: choose an experiment that has one.")
        data.prepare_data()
        data.setup("fit")  # mistakes in the configuration show before another model is trained
        model.start_from(_trained(cfg, model.starts_from))
        L.seed_everything(cfg.seed, verbose=False)  # as if that had not happened
    start = time.monotonic()
    trainer.fit(model, data, ckpt_path=ckpt if ckpt.exists() else None, weights_only=True)
    trained = time.monotonic()
    best = next((callback for callback in trainer.checkpoint_callbacks if isinstance(callback, BestCheckpoint)), None)
    tested = (best and best.best_model_path) or folder / LAST
    try:
        trainer.test(model, data, ckpt_path=tested, verbose=False, weights_only=True)
    except SystemExit:  # Lightning's answer to Ctrl-C
        raise Interrupted(f"Interrupted while testing. {how_to_go_on(trainer)}") from None
    seconds = {"fit": round(trained - start, 1), "test": round(time.monotonic() - trained, 1)}
    objective = None if best is None or best.best_model_score is None else float(best.best_model_score)
    if trainer.is_global_zero:
        metrics = records.numbers(trainer.callback_metrics)
        records.log_hparams(trainer, cfg, metrics)
        records.write(folder, cfg, {"metrics": metrics, "objective": objective, "seconds": seconds})
        records.show(folder, metrics)
    return objective


def _trained(cfg: DictConfig, part: str) -> L.LightningModule:
    """The model that a part of the configuration asks for: the one named, or one found, or trained once and kept."""
    wanted = cfg[part]
    if wanted.ckpt is not None:
        return checkpoint.load(wanted.ckpt)
    own, folder = pretraining.own_run(cfg, part)
    if not (folder / records.METRICS).exists():
        log.info("No %s.ckpt is named: training %s first, once, in %s", part, wanted.experiment, folder)
        _fit(own, folder, folder / LAST)
    ckpt = checkpoint.of_run(folder)
    log.info("%s: %s", part, ckpt)
    return checkpoint.load(ckpt)


def test(cfg: DictConfig) -> None:
    """Tests a checkpoint under its own configuration, into a folder of its own.

    Raises:
        UserError: the checkpoint cannot be used.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    ckpt, machine, cfg = cfg.ckpt, cfg.trainer, _own_configuration(cfg)
    cfg.trainer.update({key: machine[key] for key in MACHINE})  # a GPU's checkpoint is tested on any machine
    data, model, trainer = _assemble(cfg, folder)
    start = time.monotonic()
    trainer.test(model, data, ckpt_path=ckpt, verbose=False, weights_only=True)
    if trainer.is_global_zero:
        metrics = records.numbers(trainer.callback_metrics)
        records.write(folder, cfg, {"metrics": metrics, "seconds": {"test": round(time.monotonic() - start, 1)}})
        records.show(folder, metrics)


def sample(cfg: DictConfig) -> None:
    """Writes samples of a checkpoint: a picture (`.png`), or an array (N, 1, 32, 32) in [0, 1] (`.npz`).

    Raises:
        UserError: the checkpoint, digit, count or file cannot be used.
    """
    out = Path(cfg.out)
    if out.suffix not in (".png", ".npz"):
        raise UserError(f"out={out}: must end in .png or .npz.")
    model = checkpoint.load(cfg.ckpt)
    if not isinstance(model, GAN):
        raise UserError(f"ckpt={cfg.ckpt} is a checkpoint of {type(model).__name__}; sampling needs one of GAN.")
    images = model.sample(cfg.digit, cfg.count, cfg.seed)
    unasked = "digits 0 to 9 in turn" if model.conditional else "any digits"
    digits = unasked if cfg.digit is None else f"digit {cfg.digit}"
    columns = 10 if cfg.digit is None else min(10, math.ceil(math.sqrt(cfg.count)))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.suffix == ".npz":
            savez_compressed(out, images=images.numpy())
        else:
            figures.save(figures.grid(images, columns, f"{cfg.count} samples, {digits}"), out)
    except OSError as error:
        raise UserError(f"out={out}: cannot be written ({error.strerror}).") from None
    print(f"{len(images)} samples in {out}")


def study(cfg: DictConfig) -> None:
    """Looks at trained models, each named, found, or trained on the way.

    Raises:
        UserError: the study asks for something impossible, or a model is of another kind.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    if "study" not in cfg:
        raise UserError("task=study: choose what to look at, such as experiment=interpolation.")
    look = instantiate(cfg.study)  # first: it checks its options
    wanted = {part: pretraining.model_configuration(cfg, part) for part in look.parts}
    if cfg.scorer is not None:
        cfg.scorer = str(Path(cfg.scorer).absolute())
    if records.complete(folder, cfg, folder / LAST, may_differ=False) is not None:
        log.info("%s is complete: nothing to do.", folder)
        return
    device = _trainer(cfg, logger=False, enable_checkpointing=False).strategy.root_device
    data = _loaded(cfg)
    scorer = fidelity.load_scorer(cfg.scorer, data.dataset).to(device)
    look.check(data, wanted)
    models = {part: _trained(cfg, part).to(device) for part in look.parts}
    start = time.monotonic()
    L.seed_everything(cfg.seed, verbose=False)
    metrics = look(folder, data, scorer, **models)
    records.write(folder, cfg, {"metrics": metrics, "seconds": {"all": round(time.monotonic() - start, 1)}})
    print(f"{folder}\n  {'  '.join(sorted(path.name for path in folder.glob('*.md')))}  figures  {records.METRICS}")


def _loaded(cfg: DictConfig) -> ImageData:
    data = instantiate(cfg.data)
    assert isinstance(data, ImageData)
    data.prepare_data()
    data.setup()
    return data


def claims(cfg: DictConfig) -> None:
    """Holds the report's claims against sweeps: a table on the screen and in claims.md.

    Raises:
        UserError: a folder is missing or holds no complete job that the report speaks of.
    """
    folders = [cfg.sweep] if isinstance(cfg.sweep, str) else list(cfg.sweep)
    for folder in folders:
        if not Path(folder).is_dir():
            raise UserError(f"sweep={folder}: no such folder.")
    classifiers, gans = transfer.read(folders, cfg.labels), adversarial.read(folders)
    translations = translators.read(folders)
    if not (classifiers or gans or translations):
        what = f"of a transfer experiment with {cfg.labels} labels, of a GAN, or of a translation"
        raise UserError(f"sweep={','.join(folders)}: no complete job {what}.")
    table = markdown([*transfer.judge(classifiers), *adversarial.judge(gans), *translation.judge(translations)])
    drawn = pictures_of_gans(gans)
    if translations:
        table = f"{translators.table(translations)}\n{table}"
        drawn |= pictures_of_translations(translations, _loaded(cfg))
    (Path(folders[0]) / "claims.md").write_text(table)
    for name, picture in drawn.items():
        figures.save(picture, Path(folders[0]) / f"{name}.png")
    print(table)


def _own_configuration(cfg: DictConfig) -> DictConfig:
    """The configuration inside the checkpoint `cfg.ckpt`, with this command's `trainer` and `callbacks` overrides.

    Raises:
        UserError: an override is of a callback's option that the checkpoint's run did not have.
    """
    places = {key: OmegaConf.select(cfg, key) for key in PLACES}  # paths come from this machine alone
    own = checkpoint.configuration(checkpoint.read(cfg.ckpt), cfg.ckpt, places)
    for key in (argument.partition("=")[0].lstrip("+~") for argument in HydraConfig.get().overrides.task):
        if key == "trainer":  # another machine, not another run
            own.trainer.update({key: cfg.trainer[key] for key in MACHINE})
        elif key.startswith("trainer."):
            OmegaConf.update(own, key, OmegaConf.select(cfg, key), force_add=True)
        elif key.startswith("callbacks"):  # of a test: how it measures
            if "." not in key or OmegaConf.select(own, key, default=KeyError) is KeyError:
                raise UserError(f"{key}: the run of ckpt={cfg.ckpt} has no such option.")
            OmegaConf.update(own, key, OmegaConf.select(cfg, key))
    return own


def _assemble(cfg: DictConfig, folder: Path) -> tuple[L.LightningDataModule, L.LightningModule, L.Trainer]:
    if not 0 <= cfg.seed < 2**32:
        raise UserError(f"seed={cfg.seed}: must be from 0 to {2**32 - 1}.")
    if cfg.trainer.max_epochs < 1:
        raise UserError(f"trainer.max_epochs={cfg.trainer.max_epochs}: must be at least 1.")
    L.seed_everything(cfg.seed, verbose=False)
    model = instantiate(cfg.model)  # first: it checks its options without touching the data
    data = instantiate(cfg.data)
    callbacks = [instantiate(callback) for callback in cfg.callbacks.values()]
    callbacks.append(EmbedConfig(OmegaConf.to_container(cfg)))
    logger = TensorBoardLogger(folder, name="", version="", default_hp_metric=False)
    trainer = _trainer(cfg, default_root_dir=folder, logger=logger, callbacks=callbacks)
    for callback in callbacks:
        if isinstance(callback, Draw):
            callback.check(cfg.trainer.max_epochs)
    if trainer.world_size > 1 and HydraConfig.get().mode == RunMode.MULTIRUN:
        raise UserError("trainer.devices: a sweep runs each job in one process; set trainer.devices=1.")
    return data, model, trainer


def _trainer(cfg: DictConfig, **options: Any) -> L.Trainer:
    try:
        return L.Trainer(**options, **plain(cfg.trainer))
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise UserError(f"trainer: {error}") from None
