"""Pictures of a GAN's averaged generator, over the epochs and of the tested checkpoint."""

import re
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from sklearn.metrics import confusion_matrix
from torch import Tensor
from torchvision.utils import make_grid

from mnist_gen import plots
from mnist_gen.data.mnist import IMAGE_SIZE, NUM_CLASSES, ImageData
from mnist_gen.errors import UserError
from mnist_gen.evaluation import fidelity
from mnist_gen.evaluation.scorer import scorer_for
from mnist_gen.gan.gan import GAN
from mnist_gen.runs.tensorboard import epochs_done, run_folder, tensorboard
from mnist_gen.training.trainer import data_of, model_of

SAME_DIGIT = 25  # samples in a picture of one digit


class Draw(Callback):
    """Pictures of the averaged generator from fixed latents, at chosen epochs and of the tested checkpoint.

    Files under `figures/`, and images in TensorBoard. In the 10x10 grid a row is a digit and a column a latent.

    Args:
        at_epochs: epochs after which it is drawn, 20, or shares of the run, "20%", so that a shorter one is drawn as
            often; None for 1, 2, 5, 10, 20, 50, ... and the last one.
        digit: the digit that fills a picture of its own.
        seed: of the latents.

    Raises:
        UserError: an epoch or digit does not exist.
    """

    columns = 10

    def __init__(self, at_epochs: Sequence[int | str] | None, digit: int, seed: int) -> None:
        if at_epochs is not None and (isinstance(at_epochs, str) or not isinstance(at_epochs, Sequence)):
            raise UserError(f"at_epochs={at_epochs}: must be a list or null.")
        for chosen in at_epochs or ():
            if not re.fullmatch(r"[1-9]\d*|([1-9]\d?|100)%", str(chosen)):
                raise UserError(f"at_epochs={chosen}: must be an epoch, 20, or a share of the run, 20%.")
        if digit not in range(NUM_CLASSES):
            raise UserError(f"digit={digit}: choose 0 to {NUM_CLASSES - 1}.")
        self.at_epochs, self.digit, self.seed = at_epochs, digit, seed
        self.drawn: dict[str, dict[int, Tensor]] = {"grids": {}, "digits": {}}  # of each epoch, uint8

    def check(self, last: int) -> None:
        """Of a run that ends with the epoch `last`: before any other model is trained for it.

        Raises:
            UserError: it does not reach an epoch.
        """
        late = [epoch for epoch in self._chosen(last) or () if epoch > last]
        if late:
            raise UserError(f"callbacks.draw.at_epochs={late}: the run ends at epoch {last}.")

    def _chosen(self, last: int) -> list[int] | None:
        """The epochs asked for, of a run that ends with `last`."""
        if self.at_epochs is None:
            return None
        shares = [str(epoch).partition("%") for epoch in self.at_epochs]
        return [max(1, round(int(number) * last / 100)) if sign else int(number) for number, sign, _ in shares]

    def is_chosen(self, epoch: int, last: int) -> bool:
        """Whether to draw after that epoch of a run that ends with `last`."""
        chosen = self._chosen(last)
        if chosen is not None:
            return epoch in chosen
        return epoch == last or str(epoch).rstrip("0") in ("1", "2", "5")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The grid and the one digit at a chosen epoch, and all of them so far side by side."""
        epoch, model = epochs_done(trainer), model_of(pl_module, GAN)
        if not self.is_chosen(epoch, trainer.max_epochs or 0) or not trainer.is_global_zero:
            return
        folder, grid = run_folder(trainer) / "figures", self._grid(model)
        plots.save(self._picture(model, grid, f"epoch {epoch}"), folder / f"grid_epoch_{epoch:03}.png")
        self._remember("grids", epoch, grid)
        plots.save(self._strip("grids", "Fixed latents over the epochs"), folder / "epochs.png")
        if model.conditional:
            self._remember("digits", epoch, model.sample(self.digit, SAME_DIGIT, self.seed))
            title = f"The same {SAME_DIGIT} latents as {self.digit} over the epochs"
            plots.save(self._strip("digits", title), folder / f"digit_{self.digit}_epochs.png")
        if writer := tensorboard(trainer):
            writer.add_image("samples", make_grid(grid, nrow=self.columns, padding=1), epoch)

    def _remember(self, kind: str, epoch: int, images: Tensor) -> None:
        self.drawn[kind][epoch] = (images * 255).byte().cpu()

    def _strip(self, kind: str, title: str) -> plots.Figure:
        past = {f"epoch {epoch}": raw / 255 for epoch, raw in self.drawn[kind].items()}
        return plots.side_by_side(past, self.columns if kind == "grids" else 5, title)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The grid, and many images of one digit."""
        if not trainer.is_global_zero:
            return
        folder, model = run_folder(trainer) / "figures", model_of(pl_module, GAN)
        plots.save(self._picture(model, self._grid(model), "tested checkpoint"), folder / "grid.png")
        if model.conditional:
            same = model.sample(self.digit, SAME_DIGIT, self.seed)
            title = f"{SAME_DIGIT} samples of {self.digit}"
            plots.save(plots.grid(same, 5, title), folder / f"digit_{self.digit}.png")

    def _grid(self, model: GAN) -> Tensor:
        """(100, 1, 32, 32): row by row, digit c from the latents 0 to 9; without labels, a hundred latents."""
        latents = model.latents(NUM_CLASSES * self.columns, torch.Generator().manual_seed(self.seed))
        if not model.conditional:
            return model.generate(latents)
        labels = torch.arange(NUM_CLASSES, device=model.device).repeat_interleave(self.columns)
        return model.generate(latents[: self.columns].repeat(NUM_CLASSES, 1), labels)

    def _picture(self, model: GAN, images: Tensor, when: str) -> plots.Figure:
        if not model.conditional:
            return plots.grid(images, self.columns, f"Samples, {when}")
        return plots.grid(images, self.columns, f"A row is a digit, a column a latent; {when}", "0123456789")

    def state_dict(self) -> dict[str, Any]:
        """What was drawn so far."""
        return self.drawn

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes it back, if it is what a run draws."""
        for name, count in (("grids", NUM_CLASSES * self.columns), ("digits", SAME_DIGIT)):
            for epoch, images in state[name].items():
                if not isinstance(epoch, int) or images.shape != (count, 1, IMAGE_SIZE, IMAGE_SIZE):
                    raise ValueError("the pictures are none")
        self.drawn = state


class DrawReadings(Callback):
    """What the scorer reads in a conditional GAN's samples, beside what was asked for.

    Leaves digits.png, the digits 0 to 9 from one latent with the reading under each, and requested.png, the digit asked
    for against the digit read. Nothing without labels, or without a scorer for the data set.

    Args:
        scorer: path of a scorer, or None for the one in the package.
        samples: in the second picture.
        seed: of the latents.
    """

    def __init__(self, scorer: str | None, samples: int, seed: int) -> None:
        if samples < 1:
            raise UserError(f"samples={samples}: must be at least 1.")
        self.path, self.samples, self.seed = scorer, samples, seed

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draws both."""
        model, data = model_of(pl_module, GAN), data_of(trainer, ImageData)
        scorer = scorer_for(self.path, data.dataset)
        if scorer is None or not model.conditional or not trainer.is_global_zero:
            return
        scorer, folder = scorer.to(model.device), run_folder(trainer) / "figures"
        latent = model.latents(1, torch.Generator().manual_seed(self.seed))
        row = model.generate(latent.repeat(NUM_CLASSES, 1), torch.arange(NUM_CLASSES, device=model.device))
        readings = [f"read as {digit}" for digit in fidelity.read(scorer, row)[1].tolist()]
        plots.save(plots.captioned(row, readings, "Digits 0 to 9 from one latent"), folder / "digits.png")
        _, read = fidelity.read(scorer, model.sample(count=self.samples, seed=self.seed))
        asked = torch.arange(self.samples) % NUM_CLASSES
        counts = confusion_matrix(asked.tolist(), read.tolist(), labels=range(NUM_CLASSES))
        title = f"{self.samples:,} samples: digit asked for and what is read,\nin % of the digit"
        plots.save(plots.confusion(counts, title, "digit asked for"), folder / "requested.png")
