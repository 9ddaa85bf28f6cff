"""The tasks that train and test. Each takes the composed configuration and leaves its results in files.

`runs.tasks` says where the other tasks stand.
"""

import logging
import time
import warnings
from pathlib import Path
from typing import Any

import lightning as L
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from mnist_gen.data import own_images
from mnist_gen.data.mnist import ImageData
from mnist_gen.errors import UserError
from mnist_gen.evaluation import results
from mnist_gen.evaluation.scorer import load_scorer, scorer_digest
from mnist_gen.runs import checkpoint, layout, limits, loggers, pretrained, records, trust
from mnist_gen.runs.config import MACHINE, PLACES, chosen, flat, one_line, plain
from mnist_gen.system import files, memory
from mnist_gen.training.checkpoints import BestCheckpoint, LastCheckpoint
from mnist_gen.training.trainer import make_trainer, plain_trainer

Kept = tuple[Path, dict[str, Any]]  # a checkpoint's path and content
Built = tuple[L.LightningDataModule, L.LightningModule, L.Trainer]

log = logging.getLogger(__name__)
for _name in ("lightning.fabric", "lightning.pytorch"):
    logging.getLogger(_name).setLevel(logging.WARNING)  # hides devices, tips and file names
warnings.filterwarnings("ignore", message=".*(LeafSpec|many workers|is not empty|in eval mode)")


def fit(cfg: DictConfig) -> float | None:
    """Trains a model, tests its best checkpoint and returns the checkpoint's validation score.

    With `ckpt`, the run continues in its own folder with the checkpoint's configuration. If the folder already holds
    this run, as in a repeated sweep, the run is completed, or skipped if it is complete.
    """
    if cfg.ckpt is not None:
        found = checkpoint.usable(Path(cfg.ckpt))
        if found is None:
            raise UserError(f"ckpt={cfg.ckpt}: no such file.")
        return _fit(_configuration_of(cfg, *found), _folder(), found, resumed=True)
    _resolve_paths(cfg)
    cfg.run.experiment = chosen("experiment")
    return _fit(pretrained.complete(cfg), _folder(), checkpoint.usable(_folder() / layout.LAST))


def _folder() -> Path:
    return Path(HydraConfig.get().runtime.output_dir)


def _fit(cfg: DictConfig, folder: Path, kept: Kept | None, resumed: bool = False) -> float | None:
    complete = records.complete(folder, cfg, kept and kept[1], may_differ=resumed)
    if complete is not None:
        return complete.get("objective")
    memory.keep_freed_memory()
    data, model, trainer = built = _build(cfg, folder, kept)
    if kept is None and isinstance(model, pretrained.Starter) and model.starts_from:
        if missing := [part for part in model.starts_from if cfg.get(part) is None]:
            raise UserError(f"the model starts from a {missing[0]}: choose an experiment that has one.")
        data.prepare_data()
        data.setup("fit")  # shows mistakes in the configuration before another model is trained
        model.start_from(**{part: _pretrained_model(cfg, part) for part in model.starts_from})
        L.seed_everything(cfg.seed, verbose=False)  # the run does not depend on whether that model was trained now
    with loggers.ending(trainer.loggers):
        return _train_and_test(cfg, folder, kept, built)


def _train_and_test(cfg: DictConfig, folder: Path, kept: Kept | None, built: Built) -> float | None:
    (data, model, trainer), start = built, time.monotonic()
    _train(trainer, model, data, kept)
    trained = time.monotonic()
    files.settle()  # the checkpoint to test must be on the disk
    path, content = _checkpoint_to_test(folder)
    checkpoint.take_weights(model, content, path)
    trainer.test(model, data, verbose=False)
    seconds = {"fit": round(trained - start, 1), "test": round(time.monotonic() - trained, 1)}
    objective = next((c.score for c in trainer.checkpoint_callbacks if isinstance(c, BestCheckpoint)), None)
    if trainer.is_global_zero:
        _finish(folder, cfg, trainer, {"objective": objective, "seconds": seconds})
    return objective


def _train(trainer: L.Trainer, model: L.LightningModule, data: L.LightningDataModule, kept: Kept | None) -> None:
    """Trains from the start or from a checkpoint, and refuses a checkpoint whose optimizers or counters do not fit."""
    try:
        with warnings.catch_warnings():
            if isinstance(data, ImageData):  # it resumes inside an epoch; Lightning does not know that
                warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before")
            trainer.fit(model, data, ckpt_path=kept and kept[0], weights_only=True)
    except UserError:
        raise
    except Exception as error:
        if kept is None or any(c.has_trained for c in trainer.checkpoint_callbacks if isinstance(c, LastCheckpoint)):
            raise
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise UserError(f"ckpt={kept[0]}: a run cannot continue from it ({reason}).") from error


def _checkpoint_to_test(folder: Path) -> Kept:
    """The best checkpoint, or the last one if the best is torn."""
    path = layout.checkpoint_of(folder)
    try:
        return path, checkpoint.read(path)
    except checkpoint.TornError as error:
        last = checkpoint.usable(folder / layout.LAST)
        if last is None:
            raise
        log.warning("%s The last checkpoint is tested instead: %s", error, last[0])
        return last


def _pretrained_model(cfg: DictConfig, part: str) -> L.LightningModule:
    """The model that a part of the configuration asks for: named by its checkpoint, found, or trained now."""
    wanted = cfg[part]
    if wanted.ckpt is not None:
        return checkpoint.load(wanted.ckpt, cfg.trust)
    own, folder = pretrained.own_run(cfg, part)
    if layout.read_record(folder) is None:
        with files.locked(folder, wait=True):
            if layout.read_record(folder) is None:  # another process may have trained it meanwhile
                log.info("%s.ckpt is not set: training %s once, in %s", part, wanted.experiment, folder)
                _fit(own, folder, checkpoint.usable(folder / layout.LAST))
    log.info("%s: %s", part, layout.checkpoint_of(folder))
    return checkpoint.load(layout.checkpoint_of(folder), trust.by_command(own))


def test(cfg: DictConfig) -> None:
    """Tests a checkpoint with its own configuration, in a new folder."""
    path, content = kept = Path(cfg.ckpt), checkpoint.read(cfg.ckpt)
    machine, cfg = cfg.trainer, _configuration_of(cfg, *kept)
    cfg.trainer.update({key: machine[key] for key in MACHINE})  # any machine can test a GPU's checkpoint
    data, model, trainer = _build(cfg, _folder(), kept)
    checkpoint.take_weights(model, content, path)
    start = time.monotonic()
    with loggers.ending(trainer.loggers):
        trainer.test(model, data, verbose=False)
        if trainer.is_global_zero:
            _finish(_folder(), cfg, trainer, {"seconds": {"test": round(time.monotonic() - start, 1)}})


def _finish(folder: Path, cfg: DictConfig, trainer: L.Trainer, outcome: dict[str, Any]) -> None:
    """Logs the results, writes metrics.json and prints the table."""
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    results.log_hparams(trainer, cfg, metrics)
    has_scorer = cfg.scorer is not None or cfg.data.get("dataset") == "MNIST"
    measured = has_scorer and "scorer" in cfg.callbacks.get("metrics", {})
    scorer = {"scorer": scorer_digest(cfg.scorer)} if measured else {}
    records.write(folder, cfg, {"metrics": metrics, **outcome, "precision": str(trainer.precision), **scorer})
    results.show(folder, metrics)


def study(cfg: DictConfig) -> None:
    """Compares trained models. Each is named by its checkpoint, found, or trained now."""
    folder = _folder()
    if "study" not in cfg:
        raise UserError("task=study: choose a study, such as experiment=interpolation.")
    limits.check(plain(cfg))
    compare = instantiate(cfg.study)  # early, because it checks its options
    wanted = {part: pretrained.model_configuration(cfg, part) for part in compare.parts}
    _resolve_paths(cfg)
    if records.complete(folder, cfg) is not None:
        return
    device = plain_trainer(plain(cfg.trainer), folder, logger=False, enable_checkpointing=False).strategy.root_device
    data = instantiate(cfg.data).loaded()
    scorer = load_scorer(cfg.scorer, data.dataset).to(device)
    if hasattr(compare, "check"):
        compare.check(data, wanted)
    models = {part: _pretrained_model(cfg, part).to(device) for part in compare.parts}
    start = time.monotonic()
    L.seed_everything(cfg.seed, verbose=False)
    metrics = compare(folder, data, scorer, **models)
    seconds = {"all": round(time.monotonic() - start, 1)}
    records.write(folder, cfg, {"metrics": metrics, "seconds": seconds, "scorer": scorer_digest(cfg.scorer)})
    print(f"{folder}\n  {'  '.join(sorted(path.name for path in folder.glob('*.md')))}  figures  {layout.METRICS}")


def _resolve_paths(cfg: DictConfig) -> None:
    """Makes paths absolute, and names your own images by their content: the scorer must be trained on the same."""
    if cfg.scorer is not None:
        cfg.scorer = str(Path(cfg.scorer).absolute())
    if cfg.data.get("path") == "":
        raise UserError("data=files: name your images, data.path=<an .npz file, or a folder per class>.")
    if cfg.data.get("path") is not None:
        cfg.data.path = str(Path(cfg.data.path).expanduser().absolute())
        cfg.data.dataset = own_images.fingerprint(Path(cfg.data.path))


def _configuration_of(cfg: DictConfig, path: Path, content: dict[str, Any]) -> DictConfig:
    """A checkpoint's configuration with this command's paths and its `trainer` and `callbacks` overrides.

    The command must name the run's own scorer and images, and may set only options that the run's callbacks have.
    """
    saved = dict(flat(content[trust.CONFIG]))  # plain values: references in a checkpoint must not be resolved
    for key, what in {"scorer": "its own scorer", "data.path": "images of your own"}.items():
        if saved.get(key) is not None and OmegaConf.select(cfg, key) is None:
            raise UserError(f"ckpt={path}: its run used {what}; name the path again, {key}=<path>.")
    images = cfg.data.get("path")
    if images is not None and saved.get("data.dataset") != own_images.fingerprint(Path(images).expanduser()):
        raise UserError(f"data.path={images}: not the images of the run of ckpt={path}.")
    places = {key: OmegaConf.select(cfg, key) for key in (*PLACES, "scorer")}
    config = trust.configuration(content, path, places, cfg.trust)
    experiment = saved.get("run.experiment")
    config.run = {"experiment": experiment if isinstance(experiment, str) else None, "folder": None}
    config.update(logger=cfg.logger, trust=cfg.trust, tags=config.get("tags", []))
    for key in (argument.partition("=")[0].lstrip("+~") for argument in HydraConfig.get().overrides.task):
        if key == "trainer":  # changes the machine, not the run
            config.trainer.update({key: cfg.trainer[key] for key in MACHINE})
        elif key.startswith("trainer."):
            OmegaConf.update(config, key, OmegaConf.select(cfg, key), force_add=True)
        elif key.startswith("callbacks"):  # changes how a test measures
            if "." not in key or OmegaConf.select(config, key, default=KeyError) is KeyError:
                raise UserError(f"{key}: the run of ckpt={path} has no such option.")
            OmegaConf.update(config, key, OmegaConf.select(cfg, key))
    return config


def _build(cfg: DictConfig, folder: Path, kept: Kept | None) -> Built:
    """Data, model and Trainer. A checkpoint's weights are checked before the model takes memory."""
    cfg.run.folder = str(folder)
    limits.check(plain(cfg), apart=PLACES)
    if kept is not None:
        checkpoint.check_weights(kept[1], cfg.model, kept[0])
    L.seed_everything(cfg.seed, verbose=False)
    model = instantiate(cfg.model)  # first, because it checks its options without the data
    data = instantiate(cfg.data)
    trainer = make_trainer(cfg, folder, model)
    if trainer.world_size > 1 and HydraConfig.get().mode == RunMode.MULTIRUN:
        raise UserError("trainer.devices: a sweep runs each job in one process; set trainer.devices=1.")
    return data, model, trainer
