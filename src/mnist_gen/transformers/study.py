"""The base of both studies: they compare transformers with torch's layers, and leave tables and figures."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mnist_gen.data.mnist import ImageData, to_images
from mnist_gen.evaluation import fidelity, verdicts
from mnist_gen.evaluation.study import Study
from mnist_gen.runs import plots
from mnist_gen.runs.tables import markdown
from mnist_gen.transformers.claims import relative_error

DTYPES = {"float32": torch.float32, "float64": torch.float64}
Errors = list[tuple[str, float]]  # of named constructions


class Results(NamedTuple):
    """What a study measured: the rows of its two tables, verdicts and figures."""

    exact: list[tuple[str, dict[str, float]]]  # constructions, and their largest absolute errors by precision
    broken: Errors  # changed constructions, and their relative errors
    verdicts: list[verdicts.Verdict]
    figures: dict[str, plots.Figure]


class TransformerStudy(Study, ABC):
    """Measures the first test images with torch's default weights; writes tables and figures, and prints the tables."""

    name: str

    def __init__(self, images: int, seed: int) -> None:
        self.images, self.seed = images, seed

    @torch.no_grad()
    def __call__(self, folder: Path, data: ImageData, scorer: fidelity.Scorer) -> fidelity.Metrics:
        torch.manual_seed(self.seed)
        results = self.measure(to_images(data.test.images[: self.images]).cpu())
        rows = [[name, *(f"{error:.1e}" for error in errors.values())] for name, errors in results.exact]
        tables = (
            markdown(("computed by a transformer", *(f"largest error, {name}" for name in DTYPES)), rows),
            markdown(("changed", "relative error"), [(name, f"{error:.2g}") for name, error in results.broken]),
            verdicts.markdown(results.verdicts),
        )
        self.publish(folder, self.name, "\n".join(tables), results.figures)
        return {f"largest_error/{name}": max(errors[name] for _, errors in results.exact) for name in DTYPES}

    @abstractmethod
    def measure(self, images: Tensor) -> Results:
        """Measures images (N, 1, 32, 32)."""


def largest_errors(build: Callable[..., nn.Module], images: Tensor, *layers: nn.Module) -> dict[str, float]:
    """The largest absolute error by precision of a construction, which `build` makes from the layers with weights."""
    errors = {}
    for name, dtype in DTYPES.items():
        reference, inputs = copy.deepcopy(nn.Sequential(*layers)).to(dtype), images.to(dtype)
        construction = build(*(layer for layer in reference if hasattr(layer, "weight")))
        errors[name] = (construction(inputs) - reference(inputs)).abs().max().item()
    return errors


def relative_errors(models: Iterable[tuple[str, nn.Module]], images: Tensor, targets: Tensor) -> Errors:
    """The relative error of each named model."""
    return [(name, relative_error(model(images), targets)) for name, model in models]
