"""What TensorBoard shows beside curves and pictures: charts of several curves, networks, configuration, results."""

import warnings
from collections.abc import Mapping
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import OmegaConf
from torch import nn

from mnist_gen.evaluation.metrics import METRICS
from mnist_gen.evaluation.results import beside_floor
from mnist_gen.networks.inspection import Examples, HasExamples, evaluating, layers
from mnist_gen.runs.loggers import Events, batches_done, callbacks_of, tensorboard
from mnist_gen.runs.tables import markdown
from mnist_gen.training.checkpoints import EmbedConfig, validated
from mnist_gen.training.curves import Curves

GROUPS = {  # TensorBoard's group of each split, and an ending that tells splits in one group apart
    "train": ("losses", ""),
    "run": ("run", ""),
    "val": ("quality", ""),
    "test": ("test", ""),
    "floor": ("test", "_of_real_data"),
    "held_out": ("quality", "_held_out"),
    "learnt": ("quality", "_learnt"),
}
SPLITS = ("val", "test", "floor")


class GroupedEvents(Events):
    """TensorBoard's events. It sorts groups by name: losses, quality, run, test, and metrics of single digits."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        super().log_metrics({tag_of(name): value for name, value in metrics.items()}, step)


def tag_of(name: str) -> str:
    """TensorBoard's tag of a value that other loggers know as `train/loss_d`, `val/fid` or `floor/fid`."""
    split, _, metric = name.partition("/")
    if split not in GROUPS:  # of a callback that we do not know
        return name if metric else f"run/{name}"
    group, suffix = GROUPS[split]
    known = METRICS.get(metric)
    if known is not None and known.digit is not None:
        group = "test_digits" if group == "test" else "val_digits"
    if known is not None and known.better == "higher" and group == "losses":
        group, suffix = "quality", "_train"
    return f"{group}/{metric}{suffix}"


class Networks(nn.Module):
    """Networks side by side, so that one graph shows all of them."""

    def __init__(self, examples: Examples) -> None:
        super().__init__()
        self.names, self.counts = list(examples), [len(inputs) for _, inputs in examples.values()]
        for name, (network, _) in examples.items():
            self.add_module(name, network)

    def forward(self, *inputs: Any) -> list[Any]:
        parts = iter(inputs)
        return [
            getattr(self, name)(*(next(parts) for _ in range(count)))
            for name, count in zip(self.names, self.counts, strict=True)
        ]


class Dashboard(Callback):
    """Writes the configuration to each logger; for TensorBoard also custom scalars, networks and results."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for logger in trainer.loggers:
            if not isinstance(logger, TensorBoardLogger):  # it has HPARAMS, see `results.log_hparams`
                logger.log_hyperparams(_config(trainer))
        if (writer := tensorboard(trainer)) is None:
            return
        writer.add_custom_scalars(_charts(trainer, pl_module))
        writer.add_text("configuration", _code(OmegaConf.to_yaml(OmegaConf.create(_config(trainer)))))
        if isinstance(pl_module, HasExamples):
            examples = pl_module.examples()
            for name, (network, inputs) in examples.items():
                writer.add_text(f"networks/{name}", architecture(network, inputs))
            draw_graph(writer, examples)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if writer := tensorboard(trainer):
            rows = beside_floor({name: float(value) for name, value in trainer.callback_metrics.items()})
            writer.add_text("results", markdown(["metric", "value", "real data"], rows), batches_done(trainer))


def architecture(network: nn.Module, inputs: tuple[Any, ...]) -> str:
    """A network's layers as a Markdown table, with the sum of the parameters."""
    found = layers(network, inputs)
    rows = [[layer.name, layer.kind, " x ".join(map(str, layer.shape)), f"{layer.parameters:,}"] for layer in found]
    total = sum(weight.numel() for weight in network.parameters())
    return markdown(["layer", "kind", "output", "parameters"], [*rows, ["all", "", "", f"{total:,}"]])


def draw_graph(writer: Any, examples: Examples) -> None:
    """Traces the networks once."""
    networks = Networks(examples)
    with evaluating(networks), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of checks of shapes, which a graph does not show
        writer.add_graph(networks, tuple(value for _, inputs in examples.values() for value in inputs))


def _config(trainer: L.Trainer) -> dict[str, Any]:
    return next(c.config for c in callbacks_of(trainer) if isinstance(c, EmbedConfig))


def _charts(trainer: L.Trainer, model: L.LightningModule) -> dict[str, dict[str, list[Any]]]:
    """TensorBoard's custom scalars, in the order in which people look: losses, quality, single digits."""
    together = [tag for callback in callbacks_of(trainer) if isinstance(callback, Curves) for tag in callback.together]
    rates = [f"run/{name}" for name in getattr(model, "rate_names", ("lr",))]
    measured = [METRICS[name] for name in validated(trainer, model) if name in METRICS]
    of_all = [metric.name for metric in measured if metric.digit is None]
    families = dict.fromkeys(str(metric.family) for metric in measured if metric.digit is not None)
    digits = {
        family: ["Multiline", [tag_of(f"val/{metric.name}") for metric in measured if metric.family == family]]
        for family in families
    }
    return {
        "losses": {"losses": ["Multiline", [*map(tag_of, together)]], "learning rates": ["Multiline", rates]},
        "quality": {name: ["Multiline", [tag_of(f"{split}/{name}") for split in SPLITS]] for name in of_all},
        **({"digits": digits} if digits else {}),
    }


def _code(text: str) -> str:
    """Markdown that shows the text as it is."""
    return "\n".join(f"    {line}" for line in text.splitlines())
