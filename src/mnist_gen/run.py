"""The tasks. Each takes the composed configuration and leaves its work in files."""

import io
import logging
import math
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from numpy import savez_compressed
from omegaconf import DictConfig, OmegaConf

from mnist_gen import plots
from mnist_gen.data.mnist import ImageData
from mnist_gen.errors import UserError
from mnist_gen.evaluation.scorer import load_scorer, scorer_digest
from mnist_gen.gan import GAN
from mnist_gen.gan.callbacks import Draw
from mnist_gen.runs import checkpoint, layout, limits, pretrained, records, trust
from mnist_gen.runs.config import MACHINE, PLACES, one_line, plain
from mnist_gen.student_report.claims import judge_sweeps
from mnist_gen.system import files
from mnist_gen.training.checkpoints import BestCheckpoint, EmbedConfig, LastCheckpoint
from mnist_gen.training.trainer import plain_trainer, trainer_for

Kept = tuple[Path, dict[str, Any]]  # a checkpoint, and what it holds

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
        found = checkpoint.usable(Path(cfg.ckpt))
        if found is None:
            raise UserError(f"ckpt={cfg.ckpt}: no such file.")
        return _fit(_own_configuration(cfg, *found), folder, found, going_on=True)
    if cfg.scorer is not None:
        cfg.scorer = str(Path(cfg.scorer).absolute())  # a resumed run may start elsewhere
    return _fit(pretrained.complete(cfg), folder, checkpoint.usable(folder / layout.LAST))


def _fit(cfg: DictConfig, folder: Path, kept: Kept | None, going_on: bool = False) -> float | None:
    complete = records.complete(folder, cfg, kept and kept[1], may_differ=going_on)
    if complete is not None:
        log.info("%s is complete: nothing to do.", folder)
        return complete.get("objective")
    data, model, trainer = _assemble(cfg, folder, kept)
    if kept is None and isinstance(model, pretrained.Starter) and model.starts_from is not None:
        if cfg.get(model.starts_from) is None:
            raise UserError(f"the model starts from a {model.starts_from}: choose an experiment that has one.")
        data.prepare_data()
        data.setup("fit")  # mistakes in the configuration show before another model is trained
        model.start_from(_trained(cfg, model.starts_from))
        L.seed_everything(cfg.seed, verbose=False)  # as if that had not happened
    start = time.monotonic()
    _train(trainer, model, data, kept)
    trained = time.monotonic()
    files.settle()  # what is tested has to be there
    path, content = _judged(folder)
    checkpoint.take_weights(model, content, path)
    trainer.test(model, data, verbose=False)
    seconds = {"fit": round(trained - start, 1), "test": round(time.monotonic() - trained, 1)}
    best = next((callback for callback in trainer.checkpoint_callbacks if isinstance(callback, BestCheckpoint)), None)
    objective = None if best is None else best.score
    if trainer.is_global_zero:
        metrics = records.numbers(trainer.callback_metrics)
        records.log_hparams(trainer, cfg, metrics)
        records.write(
            folder, cfg, {"metrics": metrics, "objective": objective, "seconds": seconds, **_conditions(cfg, trainer)}
        )
        records.show(folder, metrics)
    return objective


def _train(trainer: L.Trainer, model: L.LightningModule, data: L.LightningDataModule, kept: Kept | None) -> None:
    """Trains, from a checkpoint on if there is one, whose optimizers and counters only a run itself can check.

    Raises:
        UserError: they do not fit.
    """
    try:
        trainer.fit(model, data, ckpt_path=kept and kept[0], weights_only=True)
    except UserError:
        raise
    except Exception as error:
        last = [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, LastCheckpoint)]
        if kept is None or any(callback.has_trained for callback in last):
            raise
        raise UserError(
            f"ckpt={kept[0]}: no run can go on from it ({type(error).__name__}: {one_line(error)})."
        ) from error


def _judged(folder: Path) -> Kept:
    """The checkpoint by which a run is judged; the last one if the best is torn."""
    path = layout.checkpoint_of(folder)
    try:
        return path, checkpoint.read(path)
    except checkpoint.TornError as error:
        last = checkpoint.usable(folder / layout.LAST)
        if last is None:
            raise
        log.warning("%s The last one is tested: %s", error, last[0])
        return last


def _trained(cfg: DictConfig, part: str) -> L.LightningModule:
    """The model that a part of the configuration asks for: the one named, or one found, or trained once and kept."""
    wanted = cfg[part]
    if wanted.ckpt is not None:
        return checkpoint.load(wanted.ckpt)
    own, folder = pretrained.own_run(cfg, part)
    if layout.read_record(folder) is None:
        lock = files.FolderLock(folder, wait=True) if files.is_first_process() else None
        try:  # another process may just have trained it
            if layout.read_record(folder) is None:
                log.info("No %s.ckpt is named: training %s first, once, in %s", part, wanted.experiment, folder)
                _fit(own, folder, checkpoint.usable(folder / layout.LAST))
        finally:
            if lock is not None:
                lock.release()
    ckpt = layout.checkpoint_of(folder)
    log.info("%s: %s", part, ckpt)
    return checkpoint.load(ckpt)


def test(cfg: DictConfig) -> None:
    """Tests a checkpoint under its own configuration, into a folder of its own.

    Raises:
        UserError: the checkpoint cannot be used.
    """
    folder = Path(HydraConfig.get().runtime.output_dir)
    path, content = Path(cfg.ckpt), checkpoint.read(cfg.ckpt)
    machine, cfg = cfg.trainer, _own_configuration(cfg, path, content)
    cfg.trainer.update({key: machine[key] for key in MACHINE})  # a GPU's checkpoint is tested on any machine
    data, model, trainer = _assemble(cfg, folder, (path, content))
    checkpoint.take_weights(model, content, path)
    start = time.monotonic()
    trainer.test(model, data, verbose=False)
    if trainer.is_global_zero:
        metrics = records.numbers(trainer.callback_metrics)
        seconds = {"test": round(time.monotonic() - start, 1)}
        records.write(folder, cfg, {"metrics": metrics, "seconds": seconds, **_conditions(cfg, trainer)})
        records.show(folder, metrics)


def sample(cfg: DictConfig) -> None:
    """Writes samples of a checkpoint: a picture (`.png`), or an array (N, 1, 32, 32) in [0, 1] (`.npz`).

    Raises:
        UserError: the checkpoint, digit, count or file cannot be used.
    """
    limits.check(plain(cfg))
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
        if out.suffix == ".npz":
            arrays = io.BytesIO()
            savez_compressed(arrays, images=images.numpy())
            files.write_now(out, arrays.getvalue())
        else:
            plots.save(plots.grid(images, columns, f"{cfg.count} samples, {digits}"), out)
        files.settle()
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
    wanted = {part: pretrained.model_configuration(cfg, part) for part in look.parts}
    if cfg.scorer is not None:
        cfg.scorer = str(Path(cfg.scorer).absolute())
    limits.check(plain(cfg))
    if records.complete(folder, cfg, None, may_differ=False) is not None:
        log.info("%s is complete: nothing to do.", folder)
        return
    device = plain_trainer(plain(cfg.trainer), folder, logger=False, enable_checkpointing=False).strategy.root_device
    data = _loaded(cfg)
    scorer = load_scorer(cfg.scorer, data.dataset).to(device)
    look.check(data, wanted)
    models = {part: _trained(cfg, part).to(device) for part in look.parts}
    start = time.monotonic()
    L.seed_everything(cfg.seed, verbose=False)
    metrics = look(folder, data, scorer, **models)
    seconds = {"all": round(time.monotonic() - start, 1)}
    records.write(folder, cfg, {"metrics": metrics, "seconds": seconds, "scorer": scorer_digest(cfg.scorer)})
    print(f"{folder}\n  {'  '.join(sorted(path.name for path in folder.glob('*.md')))}  figures  {layout.METRICS}")


def _conditions(cfg: DictConfig, trainer: L.Trainer) -> dict[str, Any]:
    """Under which figures came about: the precision, and the SHA-256 of the scorer that judged."""
    judged = "judge" in cfg.callbacks and (cfg.scorer is not None or cfg.data.dataset == "MNIST")
    scorer = {"scorer": scorer_digest(cfg.scorer)} if judged else {}
    return {"precision": str(trainer.precision), **scorer}


def _loaded(cfg: DictConfig) -> ImageData:
    data = instantiate(cfg.data)
    assert isinstance(data, ImageData)
    data.prepare_data()
    data.setup()
    return data


def claims(cfg: DictConfig) -> None:
    """Holds the student report's claims against sweeps: a table on the screen and in claims.md.

    Raises:
        UserError: as `judge_sweeps`.
    """
    folders = [cfg.sweep] if isinstance(cfg.sweep, str) else list(cfg.sweep)
    print(judge_sweeps(folders, cfg.labels, lambda: _loaded(cfg)))


def _own_configuration(cfg: DictConfig, path: Path, content: Mapping[str, Any]) -> DictConfig:
    """The configuration inside a checkpoint, with this command's places and its `trainer` and `callbacks` overrides.

    Raises:
        UserError: an override is of a callback's option that the checkpoint's run did not have, or the run had a
            scorer of its own and none is named.
    """
    if content[trust.CONFIG].get("scorer") is not None and cfg.scorer is None:
        raise UserError(f"ckpt={path}: its run had a scorer of its own; name it again, scorer=<path>.")
    places = {key: OmegaConf.select(cfg, key) for key in (*PLACES, "scorer")}
    own = trust.configuration(content, path, places)
    for key in (argument.partition("=")[0].lstrip("+~") for argument in HydraConfig.get().overrides.task):
        if key == "trainer":  # another machine, not another run
            own.trainer.update({key: cfg.trainer[key] for key in MACHINE})
        elif key.startswith("trainer."):
            OmegaConf.update(own, key, OmegaConf.select(cfg, key), force_add=True)
        elif key.startswith("callbacks"):  # of a test: how it measures
            if "." not in key or OmegaConf.select(own, key, default=KeyError) is KeyError:
                raise UserError(f"{key}: the run of ckpt={path} has no such option.")
            OmegaConf.update(own, key, OmegaConf.select(cfg, key))
    return own


def _assemble(
    cfg: DictConfig, folder: Path, kept: Kept | None
) -> tuple[L.LightningDataModule, L.LightningModule, L.Trainer]:
    """All that a run needs; the weights of a checkpoint are looked at before a model takes memory."""
    limits.check(plain(cfg), apart=PLACES)
    if kept is not None:
        checkpoint.check_weights(kept[1], cfg.model, kept[0])
    L.seed_everything(cfg.seed, verbose=False)
    model = instantiate(cfg.model)  # first: it checks its options without touching the data
    data = instantiate(cfg.data)
    callbacks = [instantiate(callback) for callback in cfg.callbacks.values()]
    callbacks.append(EmbedConfig(plain(cfg)))
    trainer = trainer_for(cfg, folder, model, callbacks)
    for callback in callbacks:
        if isinstance(callback, Draw):
            callback.check(cfg.trainer.max_epochs)
    if trainer.world_size > 1 and HydraConfig.get().mode == RunMode.MULTIRUN:
        raise UserError("trainer.devices: a sweep runs each job in one process; set trainer.devices=1.")
    return data, model, trainer
