"""Early stopping."""

import logging

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping

from mnist_gen.errors import check_choice
from mnist_gen.training.checkpoints import validated

log = logging.getLogger(__name__)


class StopEarly(EarlyStopping):
    """Lightning's early stopping, which checks its metric before training and says when it stops."""

    def check(self, trainer: L.Trainer, model: L.LightningModule) -> None:
        """Checks that a validation measures the metric."""
        if measured := [f"val/{name}" for name in validated(trainer, model)]:
            check_choice("callbacks.early_stopping.monitor", self.monitor, measured)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """A run that was stopped, and killed before its test, does not go on."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.wait_count >= self.patience:
            log.info("stopped   after %s validations without a better %s", self.patience, self.monitor)
