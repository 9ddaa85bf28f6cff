"""The tasks. Each takes the composed configuration and leaves its work in files."""

import json
import logging
import math
import platform
import subprocess
import time
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import TensorBoardLogger
from numpy import savez_compressed
from omegaconf import DictConfig, OmegaConf

from mnist_gen import checkpoint, figures, pretraining
from mnist_gen.autoencoder import Autoencoder
from mnist_gen.callbacks import LAST, BestCheckpoint, EmbedConfig, how_to_go_on
from mnist_gen.claims import judge, markdown, read
from mnist_gen.config import MACHINE, differing, flat, plain
from mnist_gen.errors import Interrupted, UserError
from mnist_gen.gan import GAN
from mnist_gen.semi import SemiSupervised
from mnist_gen.transfer import Transfer

log = logging.getLogger(__name__)
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no devices, tips, file names
warnings.filterwarnings("ignore", message=".*(LeafSpec|many workers|is not empty|in eval mode)")
METRICS = "metrics.json"


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
    if cfg.get("pretrained") is not None:
        cfg = pretraining.complete(cfg)
    return _fit(cfg, folder, folder / LAST)


def _fit(cfg: DictConfig, folder: Path, ckpt: Path, going_on: bool = False) -> float | None:
    complete = _complete_record(folder, cfg, ckpt, may_differ=going_on)
    if complete is not None:
        log.info("%s is complete: nothing to do.", folder)
        return complete["objective"]
    data, model, trainer = _assemble(cfg, folder)
    if pretraining.needed(cfg) and not ckpt.exists():
        assert isinstance(model, Transfer | SemiSupervised)
        data.prepare_data()
        data.setup("fit")  # mistakes in the configuration show before an autoencoder is trained
        model.start_from(_pretrained(cfg))
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
        metrics = _numbers(trainer.callback_metrics)
        _log_hparams(trainer, cfg, metrics)
        _record(folder, cfg, {"metrics": metrics, "objective": objective, "seconds": seconds})
        _report(folder, metrics)
    return objective


def _pretrained(cfg: DictConfig) -> Autoencoder:
    """The autoencoder that the run starts from: the one named, or one trained now and kept for all later runs."""
    if cfg.pretrained.ckpt is not None:
        return pretraining.load(cfg.pretrained.ckpt)
    own, folder = pretraining.own_run(cfg)
    if not (folder / METRICS).exists():
        log.info("No pretrained.ckpt is named: training %s first, once, in %s", cfg.pretrained.experiment, folder)
        _fit(own, folder, folder / LAST)
    return pretraining.load(folder / "checkpoints" / "best.ckpt")


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
        metrics = _numbers(trainer.callback_metrics)
        _record(folder, cfg, {"metrics": metrics, "seconds": {"test": round(time.monotonic() - start, 1)}})
        _report(folder, metrics)


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
    digits = "digits 0 to 9 in turn" if cfg.digit is None else f"digit {cfg.digit}"
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


def claims(cfg: DictConfig) -> None:
    """Holds the report's claims on transfer learning against sweeps: a table on the screen and in claims.md.

    Raises:
        UserError: a folder is missing or holds no complete job of a transfer experiment.
    """
    folders = [cfg.sweep] if isinstance(cfg.sweep, str) else list(cfg.sweep)
    table = markdown(judge(read(folders, cfg.labels)))
    (Path(folders[0]) / "claims.md").write_text(table)
    print(table)


def _own_configuration(cfg: DictConfig) -> DictConfig:
    """The configuration inside the checkpoint `cfg.ckpt`, with this command's `trainer` overrides."""
    own = checkpoint.configuration(checkpoint.read(cfg.ckpt), cfg.ckpt)
    for key in (argument.partition("=")[0].lstrip("+~") for argument in HydraConfig.get().overrides.task):
        if key == "trainer":  # another machine, not another run
            own.trainer.update({key: cfg.trainer[key] for key in MACHINE})
        elif key.startswith("trainer."):
            OmegaConf.update(own, key, OmegaConf.select(cfg, key), force_add=True)
    return own


def _complete_record(folder: Path, cfg: DictConfig, ckpt: Path, may_differ: bool) -> dict[str, Any] | None:
    """metrics.json of the run in the folder, if that run is complete and has this configuration.

    Raises:
        UserError: the run in the folder, complete or not, has another one and may not differ.
    """
    record = json.loads((folder / METRICS).read_text()) if (folder / METRICS).exists() else None
    if record is None and (may_differ or not ckpt.exists()):
        return None
    there = record["config"] if record else plain(checkpoint.configuration(checkpoint.read(ckpt), ckpt))
    keys = differing(there, plain(cfg))
    if keys and not may_differ:
        raise UserError(f"{folder} holds a run with another {', '.join(keys)}; move it away to run this one.")
    return None if keys else record


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
    try:
        trainer = L.Trainer(default_root_dir=folder, logger=logger, callbacks=callbacks, **plain(cfg.trainer))
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise UserError(f"trainer: {error}") from None
    if trainer.world_size > 1 and HydraConfig.get().mode == RunMode.MULTIRUN:
        raise UserError("trainer.devices: a sweep runs each job in one process; set trainer.devices=1.")
    return data, model, trainer


def _numbers(metrics: Mapping[str, torch.Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}


def _log_hparams(trainer: L.Trainer, cfg: DictConfig, metrics: Mapping[str, float]) -> None:
    """One HPARAMS row: a constant set of flat keys, and the final test metrics but for those of single digits."""
    settings = {"seed": cfg.seed, "epochs": cfg.trainer.max_epochs}
    settings |= {key: value for key, value in cfg.data.items() if isinstance(value, int | float) and key != "seed"}
    for key, value in flat(plain(cfg.model)):
        parent, _, name = key.rpartition(".")
        if name == "_target_":  # a network, loss or optimizer by its class
            settings[parent or "model"] = value.rpartition(".")[2]
        elif name not in ("_partial_", "fused"):
            settings[key] = value if isinstance(value, int | float) else str(value)
    results = {name: value for name, value in metrics.items() if name.startswith("test/") and not name[-1].isdigit()}
    assert isinstance(trainer.logger, TensorBoardLogger)
    trainer.logger.log_hyperparams(settings, results)
    trainer.logger.finalize("success")


def _record(folder: Path, cfg: DictConfig, results: dict[str, Any]) -> None:
    """Writes metrics.json, last and whole: where it is, the run is complete."""
    here = Path(__file__).parent
    commit = subprocess.run(["git", "-C", here, "describe", "--always", "--dirty"], capture_output=True, text=True)
    record = results | {
        "seed": cfg.seed,
        "commit": commit.stdout.strip() or None,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: version(name) for name in ("torch", "torchvision", "lightning")}
        | {"python": platform.python_version()},
        "threads": torch.get_num_threads(),
        "config": plain(cfg),
    }
    draft = folder / f".{METRICS}"
    draft.write_text(json.dumps(record, indent=2))
    draft.replace(folder / METRICS)


def _report(folder: Path, metrics: Mapping[str, float]) -> None:
    """A short table, and where the rest lies."""
    compared = any(name.startswith("floor/") for name in metrics)
    print(f"\n{'metric':<18}{'value':>10}" + (f"{'real floor':>13}" if compared else ""))
    for name, value in metrics.items():
        group, _, metric = name.partition("/")
        if group == "test" and not metric[-1].isdigit():
            floor = metrics.get(f"floor/{metric}")
            print(f"{metric:<18}{value:>10.4f}" + ("" if floor is None else f"{floor:>13.4f}"))
    left = [name for name in ("figures", METRICS, "checkpoints/best.ckpt") if (folder / name).exists()]
    print(f"\n{folder}\n  {'  '.join(left)}\n  tensorboard --logdir {folder.parent}")
