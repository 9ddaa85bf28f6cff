"""Plots of tensors and histories. Images are (N, 1, 32, 32) in [0, 1]; each function returns a matplotlib figure."""

import io
import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor
from torchvision.utils import make_grid

from mnist_gen.system import files

DPI = 220  # sharp on screens of twice the usual density
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe and Ito's, for all eyes
IN_A_ROW = 3  # charts; more are illegible at page width
IMAGES_IN_A_ROW = 20  # of grids side by side; more are illegible at page width
LEAST_SPAN = 0.002  # of a vertical axis, relative to its values: a constant is drawn as a constant
MANY = 6  # with more tick labels than this, they are vertical
MOST_TICKS = 30  # more are left out
MOST_MARKED = 30  # points of a line; more hide it
HEADING = 0.4  # height of a network's name, in rows of its boxes
SPREAD = 0.6  # share of the distance between ticks that the points of several series occupy
NUMBER = r"-?[\d.]+(e-?\d+)?"
History = Mapping[str, Sequence[float]]
Points = Mapping[str, tuple[Sequence[float], Sequence[float]]]  # by kind, x and y coordinates


def png(figure: Figure) -> bytes:
    """A figure as the content of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, dpi=DPI, format="png", pil_kwargs={"compress_level": 3})  # faster, and hardly larger
    return content.getvalue()


def save(figure: Figure, path: Path) -> Path:
    """Writes a figure as PNG and creates its folder."""
    files.write(path, png(figure))
    return path


def grid(
    images: Tensor, columns: int, title: str, row_labels: Sequence[str] = (), column_labels: Sequence[str] = ()
) -> Figure:
    """A grid of images with `columns` columns; row labels on the left, column labels below."""
    rows = -(-len(images) // columns)
    left, bottom = 0.4 + 0.08 * max(map(len, row_labels), default=0), 0.25 if column_labels else 0.0
    size = (max(3.5, 0.55 * columns + left), 0.55 * rows + 0.6 + bottom)
    figure = Figure(figsize=size, layout="compressed")
    axes = figure.add_subplot()
    _show(axes, images, columns)
    _title(figure, title)
    axes.set_yticks(_centers(axes.get_ylim()[0], row_labels), row_labels, fontsize=9)
    axes.set_xticks(_centers(axes.get_xlim()[1], column_labels), column_labels, fontsize=9)
    axes.tick_params(length=0)
    return figure


def captioned(images: Tensor, captions: Sequence[str], columns: int) -> Figure:
    """Images in rows, each below its caption."""
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(max(2.0, 1.1 * columns), 1.4 * rows), layout="compressed")
    for number, (image, caption) in enumerate(zip(images, captions, strict=True)):
        axes = figure.add_subplot(rows, columns, number + 1)
        _show(axes, image[None], 1)
        axes.set_title(caption, fontsize=9)
    return figure


def architecture(networks: Mapping[str, Sequence[tuple[str, Sequence[Sequence[str]]]]], title: str) -> Figure:
    """Networks as rows of boxes: a named row for each part, and a box for each layer, with its lines of text."""
    most = max(len(boxes) for parts in networks.values() for _, boxes in parts)
    rows, row = sum(map(len, networks.values())) + HEADING * len(networks), 0.0
    figure = Figure(figsize=(1.15 * most + 0.4, 0.95 * rows + 0.4), layout="constrained")
    axes = figure.add_subplot()
    for colour, (name, parts) in zip(cycle(COLOURS), networks.items(), strict=False):
        axes.text(-0.45, row - 0.5 + HEADING / 2, name, fontsize=10, fontweight="bold", va="center")
        row += HEADING
        for part, boxes in parts:
            axes.text(-0.45, row - 0.35, part, fontsize=8, va="center")
            axes.plot([0, len(boxes) - 1], [row + 0.12] * 2, color=colour, linewidth=1, zorder=0)
            for column, lines in enumerate(boxes):
                style = {"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": colour}
                axes.text(column, row + 0.12, "\n".join(lines), fontsize=8, ha="center", va="center", bbox=style)
            row += 1
    axes.set(xlim=(-0.5, most - 0.5), ylim=(rows - 0.5, -0.5))
    axes.axis("off")
    _title(figure, title)
    return figure


def side_by_side(grids: Mapping[str, Tensor], columns: int, title: str, row_labels: Sequence[str] = ()) -> Figure:
    """Several grids of equal size, each under its name. Row labels stand beside the first in each row."""
    across = min(len(grids), max(1, IMAGES_IN_A_ROW // columns))
    down, side = -(-len(grids) // across), 2.3 if across > 2 else 4.2
    rows = -(-len(next(iter(grids.values()))) // columns)
    figure = Figure(figsize=(side * across, (side * rows / columns + 0.3) * down + 0.4), layout="compressed")
    for number, (name, images) in enumerate(grids.items()):
        axes = figure.add_subplot(down, across, number + 1)
        _show(axes, images, columns)
        axes.set_title(name, fontsize=10)
        if number % across == 0:
            axes.set_yticks(_centers(axes.get_ylim()[0], row_labels), row_labels, fontsize=9)
            axes.tick_params(length=0)
    _title(figure, title)
    return figure


def curves(
    xs: Sequence[float], series: History, title: str, ylabel: str, xlabel: str = "epoch", scale: str = "linear"
) -> Figure:
    """Several named series in one chart; `scale` applies to both axes."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = _chart(figure, 1, 1, 1)
    for name, values in series.items():
        axes.plot(xs, values, label=name, marker=_marker(xs), markersize=3)
    axes.set(xlabel=xlabel, ylabel=ylabel, xscale=scale, yscale=scale)
    _title(figure, title)
    axes.legend()
    return figure


def _marker(xs: Sequence[float]) -> str | None:
    return "o" if len(xs) < MOST_MARKED else None


def charts(xs: Sequence[float], panels: Mapping[str, History], title: str, xlabel: str) -> Figure:
    """One chart per panel, all with the same named series and one shared legend."""
    figure, all_axes = _panels(len(panels), title)
    for axes, (name, series) in zip(all_axes, panels.items(), strict=True):
        for label, values in series.items():
            axes.plot(xs, values, label=label, marker=_marker(xs), markersize=3)
        axes.set(ylabel=name, xlabel=xlabel)
    _legend(figure)
    return figure


@dataclass(frozen=True)
class Series:
    """A metric's values in the settings of a sweep."""

    values: Sequence[float | None]  # of a single job, or means over seeds; None for a failed job leaves a gap
    deviations: Sequence[float | None]  # standard deviations, drawn as error bars; None for none
    floor: float | None = None  # the metric of real data, drawn as a dashed line
    single: Sequence[Sequence[float]] = ()  # the values behind each mean, drawn as small points


def sweep(settings: Mapping[str, Sequence[str]], charts: Mapping[str, Series], title: str) -> Figure:
    """One chart per metric over the last numeric key, with one colour per setting of the other keys.

    Without numeric keys, the first key is the horizontal axis. `settings` has each swept key's value in each job. Lines
    connect means over seeds along numbers; single jobs are points, because a line would suggest a trend.
    """
    numbers = [key for key, values in settings.items() if all(re.fullmatch(NUMBER, value) for value in values)]
    along = (numbers[-1:] or list(settings))[0]  # the key of the horizontal axis
    places, ticks = _numbered([settings[along]])
    others = [values for key, values in settings.items() if key != along]
    colours, names = _numbered(others or [[""] * len(places)])
    shift = SPREAD / len(names) if len(names) > 1 else 0.0  # keeps points from hiding each other
    figure, panels = _panels(len(charts), title)
    for axes, (name, series) in zip(panels, charts.items(), strict=True):
        for number, label in enumerate(names):
            jobs = [job for job, colour in enumerate(colours) if colour == number]
            beside = [places[job] + shift * (number - (len(names) - 1) / 2) for job in jobs]
            _setting(axes, series, jobs, beside, bool(numbers), label=label, color=COLOURS[number % len(COLOURS)])
        if series.floor is not None:
            axes.axhline(series.floor, color="gray", linestyle="--", linewidth=1, label="real data")
        named = range(0, len(ticks), math.ceil(len(ticks) / MOST_TICKS))
        axes.set_xticks(named, [ticks[place] for place in named], **_rotation(ticks))
        axes.set(ylabel=name, xlabel=along, xlim=(-0.5, len(ticks) - 0.5))
        _widen(axes)
    if len(names) > 1 or any(series.floor is not None for series in charts.values()):
        _legend(figure, (*names, "real data"))
    return figure


def _setting(
    axes: Axes, series: Series, jobs: Sequence[int], xs: Sequence[float], in_order: bool, **style: Any
) -> None:
    """Draws one colour of a chart: values or means with error bars, and the values behind the means."""
    for job, x in zip(jobs, xs, strict=True) if series.single else ():
        values = series.single[job]
        axes.plot([x] * len(values), values, ".", markersize=4, alpha=0.4, color=style["color"])
    points = ((x, series.values[job], series.deviations[job] or 0.0) for job, x in zip(jobs, xs, strict=True))
    known = [(x, y, bar) for x, y, bar in points if y is not None]
    if known:
        places, values, bars = zip(*known, strict=True)
        line = "-" if in_order and series.single else ""
        options: dict[str, Any] = {"marker": "o", "markersize": 4, "linestyle": line, "capsize": 2, **style}
        axes.errorbar(places, values, yerr=bars if any(bars) else None, **options)


def _widen(axes: Axes) -> None:
    """Keeps rounding errors from filling a chart."""
    low, high = axes.get_ylim()
    least = LEAST_SPAN * max(abs(low), abs(high))
    if high - low < least:
        axes.set_ylim((low + high - least) / 2, (low + high + least) / 2)
    axes.ticklabel_format(axis="y", useOffset=False)


def scatter(
    charts: Mapping[str, Points], title: str, xlabel: str, ylabel: str, logarithmic: bool, columns: int = IN_A_ROW
) -> Figure:
    """One scatter plot per chart, one colour per kind of points."""
    figure, panels = _panels(len(charts), title, columns)
    for axes, (name, kinds) in zip(panels, charts.items(), strict=True):
        for kind, (xs, ys) in kinds.items():
            axes.scatter(xs, ys, s=12, alpha=0.6, label=kind)
        axes.set(xlabel=xlabel, ylabel=ylabel, yscale="log" if logarithmic else "linear")
        axes.set_title(name, fontsize=9)
    _legend(figure)
    return figure


def confusion(counts: NDArray[np.integer], title: str, ylabel: str = "digit") -> Figure:
    """A confusion matrix (10, 10) as percentages of each row; columns are the digits the scorer reads."""
    shares = 100 * counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    figure = Figure(figsize=(5.6, 5.8), layout="compressed")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    style: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8}
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.05:
            axes.text(column, row, f"{share:.1f}", color="w" if share > 50 else "k", **style)
    axes.set(xlabel="read", ylabel=ylabel, xticks=range(len(counts)), yticks=range(len(counts)))
    _title(figure, title)
    return figure


def _title(figure: Figure, text: str) -> None:
    figure.suptitle(textwrap.fill(text, width=int(13 * figure.get_figwidth())), fontsize=10)


def _panels(count: int, title: str, columns: int = IN_A_ROW) -> tuple[Figure, list[Axes]]:
    """A figure with a title and `count` axes with grid lines, row by row."""
    columns = min(count, columns)
    rows = -(-count // columns)
    figure = Figure(figsize=(max(4.5, 3.2 * columns), 3.6 * rows), layout="constrained")
    _title(figure, title)
    for number in range(count):
        _chart(figure, rows, columns, number + 1)
    return figure, figure.axes


def _chart(figure: Figure, *place: int) -> Axes:
    """Axes with our colours and grid lines."""
    axes = figure.add_subplot(*place)
    axes.set_prop_cycle(color=COLOURS)
    axes.grid(alpha=0.3)
    return axes


def _legend(figure: Figure, order: Sequence[str] = ()) -> None:
    """One legend of all axes, below them, in the given order of labels or in that of the first axes."""
    labelled = [axes.get_legend_handles_labels() for axes in figure.axes]
    handles = {label: handle for found in labelled for handle, label in zip(*found, strict=True)}
    shown = {label: handles[label] for label in order or handles if label in handles}
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=3, fontsize=8)


def _rotation(ticks: Sequence[str]) -> dict[str, Any]:
    """Text options that keep tick labels from overlapping."""
    if max(map(len, ticks)) < 6:
        return {}
    return {"rotation": 90, "fontsize": 7} if len(ticks) > MANY else {"rotation": 30, "ha": "right"}


def _numbered(columns: Iterable[Sequence[str]]) -> tuple[list[int], list[str]]:
    """Numbers the distinct rows of a table: the number of each row, and the name of each number."""
    rows = [", ".join(row) for row in zip(*columns, strict=True)]
    names = list(dict.fromkeys(rows))
    return [names.index(row) for row in rows], names


def _show(axes: Axes, images: Tensor, columns: int) -> None:
    canvas = make_grid(images.clamp(0, 1), nrow=columns, padding=1, pad_value=0.3)[0]
    axes.imshow(canvas.cpu().numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _centers(length: float, names: Sequence[str]) -> list[float]:
    """Tick positions at the centers of equally sized rows or columns."""
    return [length * (index + 0.5) / len(names) for index in range(len(names))]
