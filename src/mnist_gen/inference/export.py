"""Trained models for use without this package: as ONNX, by `torch.export`, or as weights."""

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from mnist_gen.autoencoder import Autoencoder
from mnist_gen.data import IMAGE_SIZE
from mnist_gen.data.mnist import to_signed, to_unit
from mnist_gen.errors import UserError
from mnist_gen.evaluation.classifier import Classifier
from mnist_gen.gan import GAN
from mnist_gen.inference import stored
from mnist_gen.runs.config import one_line
from mnist_gen.system import files
from mnist_gen.transfer import Transfer
from mnist_gen.transfer.semi import SemiSupervised
from mnist_gen.translation import Translation

BATCHES = (1, 2, 7)  # sizes on which an export is compared with its model


@dataclass(frozen=True)
class Network:
    """What a model does at work: one function of tensors, with a batch of any size in front."""

    module: nn.Module
    inputs: Callable[[int], dict[str, Tensor]]  # random ones, by name, for a batch of this size
    output: str  # its name


class _Pipeline(nn.Module):
    """A function of tensors and of networks, which become its own."""

    def __init__(self, function: Callable[..., Tensor], *networks: Any) -> None:
        super().__init__()
        self.function, self.networks = function, nn.ModuleList(networks)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*self.networks, *inputs)


@singledispatch
def network(model: L.LightningModule) -> Network:
    """The network that an export of a model holds."""
    raise UserError(
        f"a {type(model).__name__} cannot be exported; use a GAN, an autoencoder, a classifier or a Translation."
    )


@network.register
def _(model: GAN) -> Network:
    def inputs(count: int) -> dict[str, Tensor]:
        found = {"latents": torch.randn(count, model.latent_dim)}
        labelled = model.averaged.label_vectors is not None
        return found | ({"labels": torch.randint(model.num_labels, (count,))} if labelled else {})

    scale = model.latent_scale  # as in `GAN.latents`: exports take normal latents

    def generated(space: Any, generator: Any, latents: Tensor, *labels: Tensor) -> Tensor:
        return space.leave(generator(scale * latents, *labels))

    return Network(
        _Pipeline(generated, model.space, model.averaged),
        inputs,
        "images",
    )


def _images(count: int) -> dict[str, Tensor]:
    return {"images": torch.rand(count, 1, IMAGE_SIZE, IMAGE_SIZE)}


@network.register
def _(model: Autoencoder) -> Network:
    function = _Pipeline(lambda encoder, decoder, x: decoder(encoder(x)).sigmoid(), model.encoder, model.decoder)
    return Network(function, _images, "reconstructions")


@network.register
def _(model: Translation) -> Network:
    function = _Pipeline(lambda translator, x: to_unit(translator(to_signed(x))), model.averaged)
    return Network(function, _images, "translations")


@network.register
def _(model: SemiSupervised) -> Network:
    return Network(
        _Pipeline(lambda classifier, x: classifier(x).softmax(dim=1), model.averaged), _images, "probabilities"
    )


@network.register
def _(model: Classifier) -> Network:
    return Network(
        _Pipeline(lambda classifier, x: classifier(x).softmax(dim=1), model.network), _images, "probabilities"
    )


@network.register
def _(model: Transfer) -> Network:
    return Network(_Pipeline(lambda heads, x: heads.probabilities(x), model), _images, "probabilities")


def write_weights(
    model: L.LightningModule, out: Path, origin: stored.Origin, half: bool, trust: Sequence[str]
) -> float:
    """As `write`, for `stored.load`."""
    stored.save(out, model, origin, half)
    files.settle()
    again = network(stored.load(out, trust)).module
    return _largest_difference(network(model), lambda inputs: again(*inputs.values()))


def write(model: L.LightningModule, form: str, out: Path) -> float:
    """Exports a model as `onnx` or by `torch_export`.

    Returns the largest difference between its outputs and the export's on random inputs.
    """
    wanted = network(model)
    try:
        return _export(wanted, form, out)
    except OSError:
        raise
    except Exception as error:  # networks of the user's own may do what a format cannot hold
        raise UserError(f"format={form}: cannot hold this model ({one_line(error)[:200]}).") from error


def _export(wanted: Network, form: str, out: Path) -> float:
    example = wanted.inputs(2)
    shapes = {"inputs": tuple({0: torch.export.Dim("batch")} for _ in example)}
    program = torch.export.export(wanted.module, tuple(example.values()), dynamic_shapes=shapes)
    content = io.BytesIO()
    run = (
        _torch_export(program, content)
        if form == "torch_export"
        else _onnx(program, content, [*example], wanted.output)
    )
    files.write(out, content.getvalue())
    files.settle()
    return _largest_difference(wanted, run)


def _torch_export(
    program: torch.export.ExportedProgram, content: io.BytesIO
) -> Callable[[Mapping[str, Tensor]], Tensor]:
    with _quietly():
        torch.export.save(program, content)
        content.seek(0)
        again = torch.export.load(content).module()
    return lambda inputs: again(*inputs.values())


def _onnx(
    program: torch.export.ExportedProgram, content: io.BytesIO, inputs: list[str], output: str
) -> Callable[[Mapping[str, Tensor]], Tensor]:
    import onnxruntime  # an extra

    with _quietly():
        made = torch.onnx.export(program, (), dynamo=True, input_names=inputs, output_names=[output], verbose=False)
    assert made is not None
    content.write(made.model_proto.SerializeToString())
    session = onnxruntime.InferenceSession(content.getvalue(), providers=["CPUExecutionProvider"])
    return lambda batch: torch.from_numpy(session.run(None, {name: x.numpy() for name, x in batch.items()})[0])


@contextmanager
def _quietly() -> Iterator[None]:
    """Exporters warn of their own insides, and report each step."""
    logging.disable(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _largest_difference(wanted: Network, run: Callable[[Mapping[str, Tensor]], Tensor]) -> float:
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        batches = [wanted.inputs(size) for size in BATCHES]
        return max((run(batch) - wanted.module(*batch.values())).abs().max().item() for batch in batches)
