"""Figures of a GAN's averaged generator, over the epochs and of the tested checkpoint."""

from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from mnist_gen.data import IMAGE_SIZE, NUM_CLASSES
from mnist_gen.data.mnist import ImageData
from mnist_gen.errors import UserError
from mnist_gen.evaluation import fidelity
from mnist_gen.evaluation.scorer import scorer_for
from mnist_gen.gan.gan import GAN
from mnist_gen.runs import plots
from mnist_gen.runs.loggers import epochs_done
from mnist_gen.training.pictures import FirstPicture, keep
from mnist_gen.training.trainer import data_of, model_of

COLUMNS = 10  # of the grid
SAMPLES = 25  # in a figure of one digit


class DrawSamples(FirstPicture):
    """Draws samples from fixed latents, after chosen epochs and of the tested checkpoint.

    Writes PNGs to `figures/` and images to TensorBoard. In the 10x10 grid of a conditional GAN, each row is a digit and
    each column a latent.
    """

    def __init__(
        self,
        at_epochs: Sequence[int | str] | None,  # 20, or a share of the run, "20%"; None: 1, 2, 5, 10, ... and the last
        digit: int,  # in figures of a single digit
        seed: int,  # of the latents
    ) -> None:
        self.at_epochs, self.digit, self.seed = at_epochs, digit, seed
        self.drawn: dict[str, dict[int, Tensor]] = {"grids": {}, "digits": {}}  # epoch -> uint8 (N, 1, 32, 32)

    def check(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Checks before training that the run reaches the chosen epochs."""
        last = trainer.max_epochs or 0
        if late := [epoch for epoch in self._chosen(last) if epoch > last]:
            raise UserError(f"callbacks.draw.at_epochs={late}: the run ends at epoch {last}.")

    def _chosen(self, last: int) -> list[int]:
        """`at_epochs` as epoch numbers."""
        shares = [str(epoch).partition("%") for epoch in self.at_epochs or ()]
        return [max(1, round(int(number) * last / 100)) if sign else int(number) for number, sign, _ in shares]

    def is_chosen(self, epoch: int, last: int) -> bool:
        """Whether to draw after an epoch of a run with `last` epochs."""
        if self.at_epochs is not None:
            return epoch in self._chosen(last)
        return epoch == last or str(epoch).rstrip("0") in ("1", "2", "5")

    def figure(self, trainer: L.Trainer, pl_module: L.LightningModule, when: str) -> plots.Figure:
        return self._grid(model_of(pl_module, GAN), when)[1]

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """After a chosen epoch, draws the grid, and the samples of all drawn epochs side by side."""
        epoch, model = epochs_done(trainer), model_of(pl_module, GAN)
        if not self.is_chosen(epoch, trainer.max_epochs or 0) or not trainer.is_global_zero:
            return
        grid, figure = self._grid(model, f"epoch {epoch}")
        keep(trainer, figure, f"grid_epoch_{epoch:03}", "grid")
        title = "Fixed latents over the epochs"
        rows = "0123456789" if model.conditional else ""
        keep(trainer, self._plot_epochs("grids", epoch, grid, COLUMNS, title, rows), "epochs")
        if model.conditional:
            digits = model.sample(self.digit, SAMPLES, self.seed)
            title = f"The same {SAMPLES} latents as {self.digit} over the epochs"
            keep(trainer, self._plot_epochs("digits", epoch, digits, 5, title), f"digit_{self.digit}_epochs")

    def _plot_epochs(
        self, kind: str, epoch: int, images: Tensor, columns: int, title: str, rows: str = ""
    ) -> plots.Figure:
        """Adds this epoch's images to those drawn before, and plots all of them."""
        self.drawn[kind][epoch] = (images * 255).byte().cpu()
        grids = {f"epoch {epoch}": images / 255 for epoch, images in self.drawn[kind].items()}
        return plots.side_by_side(grids, columns, title, rows)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        model = model_of(pl_module, GAN)
        keep(trainer, self._grid(model, "tested checkpoint")[1], "grid")
        if model.conditional:
            images, title = model.sample(self.digit, SAMPLES, self.seed), f"{SAMPLES} samples of {self.digit}"
            keep(trainer, plots.grid(images, 5, title), f"digit_{self.digit}")

    def _grid(self, model: GAN, when: str) -> tuple[Tensor, plots.Figure]:
        """Samples (100, 1, 32, 32): each row shows a digit from the same ten latents; without labels, 100 latents."""
        if not model.conditional:
            images = model.generate(model.typical_first(NUM_CLASSES * COLUMNS, self.seed))
            return images, plots.grid(images, COLUMNS, f"Samples, typical latents first; {when}")
        labels = torch.arange(NUM_CLASSES, device=model.device).repeat_interleave(COLUMNS)
        images = model.generate(model.typical_first(COLUMNS, self.seed).repeat(NUM_CLASSES, 1), labels)
        title = f"A row is a digit, a column a latent, typical ones first; {when}"
        return images, plots.grid(images, COLUMNS, title, "0123456789")

    def state_dict(self) -> dict[str, Any]:
        return self.drawn

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, count in (("grids", NUM_CLASSES * COLUMNS), ("digits", SAMPLES)):
            for epoch, images in state[name].items():
                if not isinstance(epoch, int) or images.shape != (count, 1, IMAGE_SIZE, IMAGE_SIZE):
                    raise ValueError(f"the images in {name} have a wrong shape")
        self.drawn = state


class DrawConfusion(Callback):
    """Draws what the scorer reads in a conditional GAN's samples, against the requested digits.

    Writes digits.png, the digits 0 to 9 from one latent with the scorer's reading under each, and requested.png, a
    confusion matrix. Draws nothing for unconditional GANs or without a scorer for the data set. Without a path, the
    scorer is the packaged one.
    """

    def __init__(self, scorer: str | None, samples: int, seed: int) -> None:
        self.path, self.samples, self.seed = scorer, samples, seed

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        model, data = model_of(pl_module, GAN), data_of(trainer, ImageData)
        scorer = scorer_for(self.path, data.dataset)
        if scorer is None or not model.conditional or not trainer.is_global_zero:
            return
        scorer = scorer.to(model.device)
        latent = model.typical_first(COLUMNS, self.seed)[:1]
        images = model.generate(latent.repeat(NUM_CLASSES, 1), torch.arange(NUM_CLASSES, device=model.device))
        read = [str(digit) for digit in fidelity.features_and_digits(scorer, images)[1].tolist()]
        title = "Digits 0 to 9 from one latent,\nand what the scorer reads"
        keep(trainer, plots.grid(images, NUM_CLASSES, title, column_labels=read), "digits")
        _, digits = fidelity.features_and_digits(scorer, model.sample(count=self.samples, seed=self.seed))
        requested = torch.arange(self.samples) % NUM_CLASSES
        counts = multiclass_confusion_matrix(digits.cpu(), requested, NUM_CLASSES).numpy()
        title = f"{self.samples:,} samples: requested and read digits,\nin % of the requested digit"
        keep(trainer, plots.confusion(counts, title, "requested digit"), "requested")
