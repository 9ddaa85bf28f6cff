"""Tensors and histories -> pictures. Images are (N, 1, 32, 32) in [0, 1]; each function returns a matplotlib figure."""

import io
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor
from torchvision.utils import make_grid

from mnist_gen.system import files

DPI = 110
CHARTS_IN_A_ROW = 3  # that can be read at the width of a page
MANY = 6  # names at an axis that are too many to be slanted
SPREAD = 0.6  # of a tick's room, over which the points of several series stand
NUMBER = r"-?[\d.]+(e-?\d+)?"
HISTORY = Mapping[str, Sequence[float]]


def save(figure: Figure, path: Path) -> Path:
    """Writes the figure as a PNG, making its folder."""
    picture = io.BytesIO()
    figure.savefig(picture, dpi=DPI, format="png")
    files.write(path, picture.getvalue())
    return path


def grid(
    images: Tensor, columns: int, title: str, row_labels: Sequence[str] = (), column_labels: Sequence[str] = ()
) -> Figure:
    """Images in rows of `columns`, each row named at its left and each column below."""
    rows = -(-len(images) // columns)
    beside, below = 0.4 + 0.08 * max(map(len, row_labels), default=0), 0.25 if column_labels else 0.0
    size = (max(3.5, 0.55 * columns + beside), 0.55 * rows + 0.6 + below)
    figure = Figure(figsize=size, layout="compressed")
    axes = figure.add_subplot()
    _show(axes, images, columns)
    _title(figure, title)
    axes.set_yticks(_middles(axes.get_ylim()[0], row_labels), row_labels, fontsize=9)
    axes.set_xticks(_middles(axes.get_xlim()[1], column_labels), column_labels, fontsize=9)
    axes.tick_params(length=0)
    return figure


def captioned(images: Tensor, captions: Sequence[str], title: str) -> Figure:
    """A row of images, each with its caption under it."""
    figure = Figure(figsize=(0.8 * len(images), 1.6), layout="constrained")
    for axes, image, caption in zip(figure.subplots(1, len(images)), images, captions, strict=True):
        _show(axes, image[None], 1)
        axes.set_xlabel(caption, fontsize=8)
    _title(figure, title)
    return figure


def side_by_side(grids: Mapping[str, Tensor], columns: int, title: str) -> Figure:
    """Some grids, each under its name."""
    rows = -(-len(next(iter(grids.values()))) // columns)
    figure = Figure(figsize=(2.3 * len(grids), 2.3 * rows / columns + 0.7), layout="constrained")
    for axes, (name, images) in zip(figure.subplots(1, len(grids), squeeze=False)[0], grids.items(), strict=True):
        _show(axes, images, columns)
        axes.set_title(name, fontsize=10)
    _title(figure, title)
    return figure


def curves(
    xs: Sequence[float], series: HISTORY, title: str, ylabel: str, xlabel: str = "epoch", scale: str = "linear"
) -> Figure:
    """Named series of one value an `x`, in one chart; `scale` is that of both axes."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for name, values in series.items():
        axes.plot(xs, values, label=name, marker="o" if len(xs) < 30 else None, markersize=3)
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel, xscale=scale, yscale=scale)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def charts(xs: Sequence[float], panels: Mapping[str, HISTORY], title: str, xlabel: str) -> Figure:
    """Several small charts of the same named series, with one legend."""
    figure, places = _panels(len(panels))
    for axes, (name, series) in zip(places, panels.items(), strict=True):
        for label, values in series.items():
            axes.plot(xs, values, label=label, marker="o", markersize=3)
        axes.set(ylabel=name, xlabel=xlabel)
        axes.grid(alpha=0.3)
    figure.legend(*places[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    _title(figure, title)
    return figure


def sweep(settings: Mapping[str, Sequence[str]], metrics: Mapping[str, Sequence[float | None]], title: str) -> Figure:
    """One small chart a metric: lines over the last key that has numbers, one for each setting of the others.

    Without numbers, points over the first key, those of other settings in other colours. A metric `<name>_std` becomes
    the error bars of `<name>`. A failed job's value is None and leaves a gap.

    Args:
        settings: for each swept key, its value in each job.
        metrics: for each metric, its value in each job.
        title: above the charts.
    """
    numbers = [key for key, values in settings.items() if all(re.fullmatch(NUMBER, value) for value in values)]
    along = (numbers[-1:] or list(settings))[0]  # the key of the horizontal axis
    places, ticks = _numbered([settings[along]])
    others = [values for key, values in settings.items() if key != along]
    lines, names = _numbered(others or [[""] * len(places)])
    shift = 0.0 if numbers else SPREAD / len(names)  # so that points do not hide each other
    charts = [name for name in metrics if not name.endswith("_std")]
    figure, panels = _panels(len(charts))
    for axes, chart in zip(panels, charts, strict=True):
        deviations = metrics.get(f"{chart}_std", [None] * len(places))
        for number, name in enumerate(names):
            points = zip(places, lines, metrics[chart], deviations, strict=True)
            known = [(x, y, bar or 0.0) for x, line, y, bar in points if line == number and y is not None]
            if known:
                xs, ys, bars = zip(*known, strict=True)
                style: dict[str, Any] = {"marker": "o", "markersize": 4, "linestyle": "-" if numbers else ""}
                beside = [x + shift * (number - (len(names) - 1) / 2) for x in xs]
                axes.errorbar(beside, ys, yerr=bars if any(bars) else None, capsize=2, label=name, **style)
        axes.set_xticks(range(len(ticks)), ticks, **_turned(ticks))
        axes.set(ylabel=chart.replace("_", " "), xlabel=along)
        axes.grid(alpha=0.3)
    if len(names) > 1:
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    _title(figure, title)
    return figure


def scatter(
    charts: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
    title: str,
    xlabel: str,
    ylabel: str,
    logarithmic: bool,
    columns: int = CHARTS_IN_A_ROW,
) -> Figure:
    """One small chart a name: points of some kinds, each kind in its colour.

    Args:
        charts: for each chart, for each kind, the points' coordinates.
        title: above the charts.
        xlabel: of all.
        ylabel: of all.
        logarithmic: whether the heights are.
        columns: charts in a row.
    """
    figure, panels = _panels(len(charts), columns)
    for axes, (name, kinds) in zip(panels, charts.items(), strict=True):
        for kind, (xs, ys) in kinds.items():
            axes.scatter(xs, ys, s=12, alpha=0.6, label=kind)
        axes.set(xlabel=xlabel, ylabel=ylabel, yscale="log" if logarithmic else "linear")
        axes.set_title(name, fontsize=9)
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    _title(figure, title)
    return figure


def _title(figure: Figure, text: str) -> None:
    """Over the whole figure, in as many lines as it takes."""
    figure.suptitle(textwrap.fill(text, width=int(13 * figure.get_figwidth())), fontsize=10)


def _panels(count: int, columns: int = CHARTS_IN_A_ROW) -> tuple[Figure, list[Axes]]:
    """A figure with that many charts, row by row."""
    columns = min(count, columns)
    rows = -(-count // columns)
    figure = Figure(figsize=(max(4.5, 3.2 * columns), 3.6 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for spare in panels[count:]:
        spare.remove()
    return figure, panels[:count]


def _turned(ticks: Sequence[str]) -> dict[str, Any]:
    """How the names at an axis lie, not to hide each other."""
    if max(map(len, ticks)) < 6:
        return {}
    return {"rotation": 90, "fontsize": 7} if len(ticks) > MANY else {"rotation": 30, "ha": "right"}


def _numbered(columns: Iterable[Sequence[str]]) -> tuple[list[int], list[str]]:
    """The rows of some columns, each as a number, and the different rows by that number."""
    rows = [", ".join(row) for row in zip(*columns, strict=True)]
    names = list(dict.fromkeys(rows))
    return [names.index(row) for row in rows], names


def confusion(counts: NDArray[np.integer], title: str, ylabel: str = "digit") -> Figure:
    """Counts (10, 10), a row a digit and a column what is read in it, as percentages of the row."""
    shares = 100 * counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    figure = Figure(figsize=(6, 5.6), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.05:
            axes.text(
                column, row, f"{share:.1f}", ha="center", va="center", fontsize=8, color="w" if share > 50 else "k"
            )
    axes.set(title=title, xlabel="read", ylabel=ylabel, xticks=range(len(counts)), yticks=range(len(counts)))
    return figure


def _show(axes: Axes, images: Tensor, columns: int) -> None:
    canvas = make_grid(images.clamp(0, 1), nrow=columns, padding=1, pad_value=0.3)[0]
    axes.imshow(canvas.cpu().numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _middles(length: float, names: Sequence[str]) -> list[float]:
    """Where names stand beside as many rows or columns of equal size."""
    return [length * (place + 0.5) / len(names) for place in range(len(names))]
