"""When to draw, what to log, what to keep. Every curve and picture has the number of finished epochs as its step."""

import logging
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from safetensors.torch import save_model
from torch import Tensor
from torchvision.utils import make_grid
from tqdm.auto import tqdm

from mnist_gen import fidelity, figures
from mnist_gen.checkpoint import CONFIG
from mnist_gen.classifier import Classifier
from mnist_gen.data import NUM_CLASSES, ImageData, ImageSet, to_images
from mnist_gen.errors import Interrupted, UserError
from mnist_gen.gan import GAN

log = logging.getLogger(__name__)


def run_folder(trainer: L.Trainer) -> Path:
    """Where this run writes."""
    return Path(trainer.default_root_dir)


def epochs_done(trainer: L.Trainer) -> int:
    """Finished epochs, the one that is ending included: the step of every curve and picture."""
    return trainer.current_epoch + 1


def tensorboard(trainer: L.Trainer) -> Any:
    """The run's SummaryWriter, or None where nothing is logged (or by another process)."""
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger) and trainer.is_global_zero:
            return logger.experiment
    return None


class Curves(Callback):
    """Averages what `training_step` returns over each epoch: to the logger as `train/*`, and into a figure.

    Args:
        together: names drawn in one chart, here and in TensorBoard's custom scalars.
    """

    def __init__(self, together: Sequence[str]) -> None:
        self.together = list(together)
        self.epochs: list[int] = []
        self.history: dict[str, list[float]] = {}
        self._sums: dict[str, Tensor] = {}
        self._batches = 0

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Lays the chart out."""
        if writer := tensorboard(trainer):
            tags = [f"train/{name}" for name in self.together]
            writer.add_custom_scalars({"training": {" and ".join(self.together): ["Multiline", tags]}})

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Sums on the device."""
        for name, value in outputs.items():  # automatic optimization gives {"loss": ...}
            self._sums[name] = self._sums.get(name, 0) + value.detach()
        self._batches += 1

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Logs and draws the epoch's means."""
        means = {name: (total / self._batches).item() for name, total in self._sums.items()}
        self._sums, self._batches = {}, 0
        self.epochs.append(epochs_done(trainer))
        for name, value in means.items():
            self.history.setdefault(name, []).append(value)
        for logger in trainer.loggers:
            logger.log_metrics({f"train/{name}": value for name, value in means.items()}, step=self.epochs[-1])
        if trainer.is_global_zero:
            shown = {name: self.history[name] for name in self.together}
            picture = figures.curves(self.epochs, shown, "Training losses, epoch means", "loss")
            figures.save(picture, run_folder(trainer) / "figures" / "losses.png")

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors, so that a run resumes inside an epoch."""
        return {"epochs": self.epochs, "history": self.history, "sums": self._sums, "batches": self._batches}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes them back."""
        self.epochs, self.history = state["epochs"], state["history"]
        self._sums, self._batches = state["sums"], state["batches"]


class Judge(Callback):
    """Measures a GAN's averaged generator: a cheap look at each validation, everything at test.

    Logs `val/*` and `test/*`, and as `floor/*` what the test gives for real training images in the samples' place.

    Args:
        scorer: path of a scorer, or None for the one in the package.
        val_samples: samples at each validation, from fixed latents.
        test_samples: samples at test, and training images for the floor.
        cas: whether the test includes CAS, the slowest part: two classifiers are trained.
        seed: of the latents, the labels and the floor's images.
    """

    def __init__(self, scorer: str | None, val_samples: int, test_samples: int, cas: bool, seed: int) -> None:
        self.path, self.cas, self.seed = scorer, cas, seed
        self.val_samples, self.test_samples = val_samples, test_samples
        self._scorer: fidelity.Scorer | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Loads the scorer, before any training; a set without one is not judged."""
        dataset = _data(trainer).dataset
        if self.path is None and dataset != "MNIST":
            log.warning(
                "Fidelity is off: %s has no scorer. Train one with `experiment=scorer`, then scorer=<path>.",
                dataset,
            )
            return
        self._scorer = fidelity.load_scorer(self.path, dataset)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The cheap look, against the validation images."""
        if self._scorer is None:
            return
        data, scorer = _data(trainer), self._scorer.to(pl_module.device)
        sample = self._samples(pl_module, data.train, self.val_samples)
        metrics = _prefixed("val", fidelity.glance(scorer, sample, to_images(data.val.images)))
        pl_module.log_dict(metrics, logger=False)  # for the best checkpoint
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=epochs_done(trainer))

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The full judgement, against the test images, and its floor."""
        if self._scorer is None:
            return
        data, scorer = _data(trainer), self._scorer.to(pl_module.device)
        training, held_out = data.train.images, to_images(data.val.images)
        test = fidelity.Sample(to_images(data.test.images), data.test.labels)
        sample = self._samples(pl_module, data.train, self.test_samples)
        real = self._real(data.train, self.test_samples, labelled=sample.labels is not None)
        metrics = fidelity.judge(scorer, sample, test, self.cas)
        metrics["memorised"] = fidelity.memorised(sample.images, held_out, training)
        floor = fidelity.judge(scorer, real, test, self.cas)
        floor["memorised"] = fidelity.memorised(test.images, held_out, training)
        pl_module.log_dict(_prefixed("test", metrics) | _prefixed("floor", floor), logger=False)

    def _samples(self, module: L.LightningModule, train: ImageSet, count: int) -> fidelity.Sample:
        """Samples whose labels are drawn from the training images' own, so that each digit is as frequent."""
        assert isinstance(module, GAN)
        generator = torch.Generator().manual_seed(self.seed)
        latents = torch.randn(count, module.latent_dim, generator=generator).to(module.device)
        drawn = torch.randint(len(train), (count,), generator=generator).to(train.labels.device)
        labels = train.labels[drawn].to(module.device) if module.conditional else None
        return fidelity.Sample(module.generate(latents, labels), labels)

    def _real(self, train: ImageSet, count: int, labelled: bool) -> fidelity.Sample:
        chosen = torch.randperm(len(train), generator=torch.Generator().manual_seed(self.seed))[:count]
        subset = train.subset(chosen.to(train.labels.device))
        return fidelity.Sample(to_images(subset.images), subset.labels if labelled else None)


class Draw(Callback):
    """Pictures of the averaged generator from fixed latents, at chosen epochs and of the tested checkpoint.

    Files under `figures/`, and images in TensorBoard. In the 10x10 grid a row is a digit and a column a latent.

    Args:
        at_epochs: epochs after which the grid is drawn.
        digit: the digit that fills a picture of its own.
        seed: of the latents.
    """

    columns = 10

    def __init__(self, at_epochs: Sequence[int], digit: int, seed: int) -> None:
        self.at_epochs, self.digit, self.seed = list(at_epochs), digit, seed
        self.grids: dict[int, Tensor] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuses epochs that the run does not reach."""
        late = [epoch for epoch in self.at_epochs if trainer.max_epochs and epoch > trainer.max_epochs > 0]
        if stage == "fit" and late:
            raise UserError(f"callbacks.draw.at_epochs={late}: the run ends at epoch {trainer.max_epochs}.")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The grid at a chosen epoch, and all of them so far side by side."""
        epoch = epochs_done(trainer)
        if epoch not in self.at_epochs or not trainer.is_global_zero:
            return
        images = self._grid(pl_module)
        self.grids[epoch] = (images * 255).byte().cpu()
        folder = run_folder(trainer) / "figures"
        figures.save(self._picture(pl_module, images, f"epoch {epoch}"), folder / f"grid_epoch_{epoch:03}.png")
        past = {number: raw / 255 for number, raw in self.grids.items()}
        figures.save(figures.epochs_strip(past, self.columns, "Fixed latents over the epochs"), folder / "epochs.png")
        if writer := tensorboard(trainer):
            writer.add_image("samples", make_grid(images, nrow=self.columns, padding=1), epoch)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The digits 0 to 9 in a row, the grid and many images of one digit."""
        if not trainer.is_global_zero:
            return
        assert isinstance(pl_module, GAN)
        folder = run_folder(trainer) / "figures"
        images = self._grid(pl_module)
        figures.save(self._picture(pl_module, images, "best checkpoint"), folder / "grid.png")
        if pl_module.conditional:
            row = figures.grid(images[:: self.columns], self.columns, "Digits 0 to 9 from one latent")
            figures.save(row, folder / "digits.png")
            same = pl_module.sample(self.digit, 25, self.seed)
            figures.save(figures.grid(same, 5, f"25 samples of {self.digit}"), folder / f"digit_{self.digit}.png")

    def _grid(self, module: L.LightningModule) -> Tensor:
        """(100, 1, 32, 32): row by row, digit c from the latents 0 to 9; without labels, a hundred latents."""
        assert isinstance(module, GAN)
        latents = torch.randn(
            NUM_CLASSES * self.columns, module.latent_dim, generator=torch.Generator().manual_seed(self.seed)
        )
        if not module.conditional:
            return module.generate(latents.to(module.device))
        labels = torch.arange(NUM_CLASSES).repeat_interleave(self.columns)
        return module.generate(
            latents[: self.columns].repeat(NUM_CLASSES, 1).to(module.device), labels.to(module.device)
        )

    def _picture(self, module: L.LightningModule, images: Tensor, when: str) -> figures.Figure:
        assert isinstance(module, GAN)
        if not module.conditional:
            return figures.grid(images, self.columns, f"Samples, {when}")
        return figures.grid(images, self.columns, f"A row is a digit, a column a latent; {when}", "0123456789")

    def state_dict(self) -> dict[str, Any]:
        """The grids drawn so far."""
        return {"grids": self.grids}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes them back."""
        self.grids = state["grids"]


class BestCheckpoint(ModelCheckpoint):
    """Keeps `checkpoints/best.ckpt`, judged by a validation metric and never by a GAN's loss."""

    def __init__(self, monitor: str, mode: str) -> None:
        super().__init__(
            filename="best",
            monitor=monitor,
            mode=mode,
            auto_insert_metric_name=False,
            enable_version_counter=False,
            save_on_train_epoch_end=False,
        )


class LastCheckpoint(ModelCheckpoint):
    """Keeps `checkpoints/last.ckpt` after each epoch, and on Ctrl-C after the batch, so that a run resumes exactly.

    The random state goes with it: a resumed run ends as if it had never stopped, bit for bit on a CPU.
    """

    def __init__(self) -> None:
        super().__init__(filename="last", enable_version_counter=False, save_on_train_epoch_end=True)
        self._stop = False
        self._handlers: dict[int, Any] = {}
        self._random: dict[str, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Puts the random state back, now that all that could have drawn from it is built; listens for Ctrl-C."""
        super().on_train_start(trainer, pl_module)
        if self._random:
            torch.set_rng_state(self._random["cpu"])
        if self._random.get("cuda") and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(self._random["cuda"])
        if threading.current_thread() is threading.main_thread():
            names = (signal.SIGINT, signal.SIGTERM)
            self._handlers = {name: signal.signal(name, self._ask_to_stop) for name in names}

    def _ask_to_stop(self, number: int, frame: object) -> None:
        self._stop = True
        self._stop_listening()  # a second Ctrl-C stops at once

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Between two batches everything is whole: the place to save and stop."""
        if self._stop:
            path = run_folder(trainer) / "checkpoints" / "last.ckpt"
            trainer.save_checkpoint(path)
            raise Interrupted(f"Interrupted in epoch {epochs_done(trainer)}. Go on: python train.py ckpt={path}")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stops listening."""
        super().on_train_end(trainer, pl_module)
        self._stop_listening()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Stops listening; saves nothing, for the weights may be spoilt."""
        self._stop_listening()

    def _stop_listening(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def state_dict(self) -> dict[str, Any]:
        """ModelCheckpoint's, and the random state of the CPU and of each GPU."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return {**super().state_dict(), "random": {"cpu": torch.get_rng_state(), "cuda": cuda}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Keeps the random state until training starts."""
        super().load_state_dict(state)
        self._random = state["random"]


class EmbedConfig(Callback):
    """Writes the run's configuration into each checkpoint, which then needs nothing else."""

    def __init__(self, config: Any) -> None:
        self.config = config

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Plain values only: the file must load with `weights_only=True`."""
        checkpoint[CONFIG] = self.config


class ExportScorer(Callback):
    """Writes the tested classifier as `scorer.safetensors`, which `scorer=<path>` and the package take."""

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Names the data set and the test accuracy in the file."""
        assert isinstance(pl_module, Classifier)
        about = {
            "dataset": _data(trainer).dataset,
            "test_accuracy": f"{float(trainer.callback_metrics['test/accuracy']):.4f}",
        }
        save_model(pl_module.network, str(run_folder(trainer) / "scorer.safetensors"), metadata=about)


class Progress(Callback):
    """One bar for the whole run, with the losses and the time left.

    Args:
        shown: names of what `training_step` returns.
        every_seconds: between two refreshes on a terminal; into a file, ten seconds. Only then are values fetched
            from the device.
    """

    def __init__(self, shown: Sequence[str], every_seconds: float) -> None:
        self.shown, self.every_seconds = list(shown), every_seconds
        self._bar: tqdm | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Opens the bar where the run stands."""
        total = trainer.estimated_stepping_batches
        done = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        self._bar = tqdm(
            total=int(total),
            initial=done,
            desc="training",
            unit="batch",
            mininterval=self.every_seconds if sys.stderr.isatty() else 10,
            dynamic_ncols=True,
            disable=not trainer.is_global_zero,
        )

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Counts the batch; `update` says when it is time to refresh."""
        if self._bar is not None and self._bar.update():
            values = {name: f"{outputs[name].item():.3f}" for name in self.shown}
            self._bar.set_postfix({"epoch": epochs_done(trainer), **values}, refresh=False)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leaves the finished bar on the screen."""
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Leaves the bar where it stopped."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _data(trainer: L.Trainer) -> ImageData:
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, ImageData)
    return data


def _prefixed(prefix: str, metrics: fidelity.Metrics) -> fidelity.Metrics:
    return {f"{prefix}/{name}": value for name, value in metrics.items()}
