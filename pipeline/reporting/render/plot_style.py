"""How plots look: one colour, marker and line for each method, in all of them."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipeline.reporting.analysis.metrics import Measure

Key = TypeVar("Key")

# Okabe and Ito's colours for all kinds of sight; wine instead of yellow, which print loses.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")  # 7 and 8 have no common factor: 56 pairs
LINES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
INK = "#222222"
GREY = "#8A8A8A"
FAINT = "#E4E4E4"
COLUMNS = 5  # panels beside each other, at most
LETTERS = 14  # of a legend, in an inch
WIDTH = 9.6  # inches, of every figure
MANY_SEEDS = 25  # of a method: their dots are a picture within the SVG, which else grows with them
STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],  # the first two are equally wide
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "savefig.facecolor": "white",
    "text.parse_math": False,  # a name may hold a dollar sign
    "svg.fonttype": "none",  # text that can be searched and selected; as paths it fills megabytes
    "svg.hashsalt": "distilbench",  # the same bytes from the same numbers
}


@dataclass(frozen=True)
class Look:
    """What tells a method from the others."""

    colour: str
    marker: str
    line: str | tuple


def looks_of(labels: Sequence[str]) -> dict[str, Look]:
    """A look for each method, by its place in the grid."""
    return {
        label: Look(
            COLOURS[place % len(COLOURS)],
            MARKERS[place % len(MARKERS)],
            LINES[place // len(COLOURS) % len(LINES)],
        )
        for place, label in enumerate(labels)
    }


def handles_of(looks: dict[str, Look], *, lines: bool) -> list[Line2D]:
    """A legend entry for each method."""
    return [
        Line2D(
            [],
            [],
            color=look.colour,
            marker=look.marker,
            linestyle=look.line if lines else "none",
            markersize=4.5,
            linewidth=1.2,
            label=label,
        )
        for label, look in looks.items()
    ]


def wrapped(label: str) -> str:
    """A label as the title of a small panel."""
    return textwrap.fill(label, 22)


def legend_below(figure: Figure, handles: list[Line2D]) -> None:
    """One legend for all panels, under them, in as many columns as its labels leave room for."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    columns = max(1, min(len(handles), math.floor(WIDTH * LETTERS / (longest + 6))))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, handlelength=2.8, numpoints=1
    )


def legend_height(labels: Sequence[str]) -> float:
    """About how many inches a legend below takes."""
    columns = max(1, math.floor(WIDTH * LETTERS / (max(map(len, labels)) + 6)))
    return 0.15 + 0.16 * math.ceil(len(labels) / columns)


@dataclass(frozen=True)
class Plot:
    """A figure with what has to be said of it."""

    name: str
    title: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Panel(Generic[Key]):
    """One of the axes of a figure: a measure of what its row of panels is about."""

    axis: Axes
    key: Key
    measure: Measure
    first: bool  # of its row


def panels(rows: int, columns: int, height: float) -> tuple[Figure, list[list[Axes]]]:
    """A figure of `height` inches and its axes, row by row."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)
    return figure, figure.subplots(rows, columns, squeeze=False).tolist()


def measure_panels(
    keys: Sequence[Key], measures: Sequence[Measure], row_height: float, legend: float
) -> tuple[Figure, list[Panel[Key]]]:
    """A figure with a panel for each measure of each key; `legend` inches are left below."""
    lines = math.ceil(len(measures) / COLUMNS)
    columns = math.ceil(len(measures) / lines)  # as even as it gets
    starts = range(0, len(measures), columns)
    rows = [(key, measures[start : start + columns]) for key in keys for start in starts]
    figure, axes = panels(len(rows), columns, row_height * len(rows) + legend)
    found = []
    for (key, shown), row in zip(rows, axes, strict=True):
        pairs = zip(row, shown, strict=False)
        found += [Panel(axis, key, measure, axis is row[0]) for axis, measure in pairs]
        for unused in row[len(shown) :]:
            unused.set_axis_off()
    return figure, found
