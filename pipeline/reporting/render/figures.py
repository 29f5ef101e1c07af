"""Small multiples in one style: a method has the same colour, marker and line in all figures."""

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from matplotlib.typing import LineStyleType, RcKeyType

RowKey = TypeVar("RowKey")
ColumnKey = TypeVar("ColumnKey")

# Okabe and Ito's colours for all kinds of sight; wine instead of yellow, which print loses.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")  # 7 and 8 have no common factor: 56 pairs
LINES: tuple[LineStyleType, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)))
INK = "#222222"
GREY = "#8A8A8A"
FAINT = "#E4E4E4"
WIDTH = 9.6  # inches, of every figure
PER_LINE = 5  # panels beside each other, at most
LETTERS_PER_INCH = 14  # of a legend
RC: dict[RcKeyType, object] = {
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
    "axes.xmargin": 0.08,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.5,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "savefig.facecolor": "white",
    "text.hinting": "none",  # texts are equally wide in all formats, so that one layout fits them
    "text.parse_math": False,  # a name may hold a dollar sign
    "svg.fonttype": "none",  # text that can be searched and selected; as paths it fills megabytes
    "svg.hashsalt": "distilbench",  # the same bytes from the same numbers
}
SVG_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))  # equal plots, equal files


@dataclass(frozen=True)
class Style:
    """The look of a method."""

    colour: str
    marker: str
    line: LineStyleType


@dataclass(frozen=True)
class Plot:
    """A figure with its title and caption."""

    name: str
    title: str
    caption: str
    figure: Figure

    def write(self, folder: Path) -> bytes:
        """Writes it as SVG and PNG; returns the SVG."""
        with rc_context(RC):
            fix_layout(self.figure)
            svg = svg_of(self.figure)
            (folder / f"{self.name}.svg").write_bytes(svg)
            self.figure.savefig(folder / f"{self.name}.png", dpi=130)
        return svg


def fix_layout(figure: Figure) -> None:
    """Lays the figure out once: for all formats, and a second time would take as long."""
    if engine := figure.get_layout_engine():
        engine.execute(figure)
        figure.set_layout_engine(None)


def svg_of(figure: Figure) -> bytes:
    """The figure as SVG, without the date that would make each one different."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata=SVG_METADATA)
    return buffer.getvalue()


def styles_of(labels: Sequence[str]) -> dict[str, Style]:
    """A style for each label, by its position."""
    return {
        label: Style(
            COLOURS[index % len(COLOURS)],
            MARKERS[index % len(MARKERS)],
            LINES[index // len(COLOURS) % len(LINES)],
        )
        for index, label in enumerate(labels)
    }


def handles_of(
    styles: Mapping[str, Style], *, lines: bool = True, markers: bool = True
) -> list[Line2D]:
    """A legend entry for each label."""
    return [
        Line2D(
            [],
            [],
            color=style.colour,
            marker=style.marker if markers else "none",
            linestyle=style.line if lines else "none",
            label=label,
        )
        for label, style in styles.items()
    ]


@dataclass(frozen=True)
class Panel(Generic[RowKey, ColumnKey]):
    """One of the small multiples: the axes of a row and a column."""

    axes: Axes
    row: RowKey
    column: ColumnKey
    is_first: bool  # on its line


def small_multiples(
    rows: Mapping[RowKey, str],
    columns: Mapping[ColumnKey, str],
    height: float,
    legend: Sequence[Line2D] = (),
    per_line: int = PER_LINE,
) -> tuple[Figure, list[Panel[RowKey, ColumnKey]]]:
    """A figure with a panel, `height` inches high, for each row and column, and their titles.

    A row of many columns takes several lines. The title of a row is at its first panel.
    """
    count = math.ceil(len(columns) / per_line)  # of lines for each row
    width = math.ceil(len(columns) / count)  # as even as it gets
    keys = list(columns)
    lines = [
        (row, keys[start : start + width]) for row in rows for start in range(0, len(keys), width)
    ]
    with rc_context(RC):
        figure = Figure(
            figsize=(WIDTH, height * len(lines) + _legend_height(legend)), layout="constrained"
        )
        grid = figure.subplots(len(lines), width, squeeze=False)
        panels = []
        for (row, shown), line in zip(lines, grid, strict=True):
            line[0].set_ylabel(rows[row].replace(", ", "\n"))
            for column, axes in zip(shown, line, strict=False):
                axes.set_title(
                    "\n".join(
                        textwrap.fill(part, 130 // width) for part in columns[column].split("\n")
                    )
                )
                panels.append(Panel(axes, row, column, axes is line[0]))
            for unused in line[len(shown) :]:
                unused.set_axis_off()
        if legend:
            figure.legend(
                handles=list(legend),
                loc="outside lower center",
                ncols=_legend_columns(legend),
                handlelength=2.8,
                numpoints=1,
            )
    if isinstance(engine := figure.get_layout_engine(), ConstrainedLayoutEngine):
        engine.set(w_pad=0.06, h_pad=0.06)
    return figure, panels


def _legend_columns(legend: Sequence[Line2D]) -> int:
    longest = max(len(str(handle.get_label())) for handle in legend)
    return max(1, min(len(legend), math.floor(WIDTH * LETTERS_PER_INCH / (longest + 7))))


def _legend_height(legend: Sequence[Line2D]) -> float:
    return 0.15 + 0.16 * math.ceil(len(legend) / _legend_columns(legend)) if legend else 0.0


Values = Sequence[float] | np.ndarray


def draw_line(axes: Axes, x: Values, y: Values, style: Style) -> None:
    """A line with about eight markers."""
    axes.plot(
        x,
        y,
        color=style.colour,
        linestyle=style.line,
        marker=style.marker,
        markersize=3.5,
        markevery=max(1, len(x) // 8),
    )


def draw_seeds(axes: Axes, x: Values, y: Values, colour: str) -> None:
    """Small dots for training seeds beside their mean."""
    axes.plot(x, y, linestyle="none", marker="o", markersize=2, color=colour, alpha=0.6)


def draw_interval(
    axes: Axes, height: float, value: float, ends: tuple[float, float], colour: str, face: str
) -> None:
    """A value and its interval on a horizontal line."""
    axes.plot(ends, [height, height], color=colour, linewidth=1.4, alpha=0.7)
    axes.plot(value, height, marker="o", color=colour, markerfacecolor=face)


def label_lines(panel: Panel[RowKey, ColumnKey], labels: Sequence[str]) -> None:
    """Makes the vertical axis a list of names, written at the first panel of a line."""
    axes = panel.axes
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_yticks(range(len(labels)), labels if panel.is_first else [""] * len(labels))
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    for line in range(0, len(labels), 2):
        axes.axhspan(line - 0.5, line + 0.5, color="#F4F4F4", linewidth=0, zorder=0)
    axes.xaxis.set_major_locator(MaxNLocator(4))


def fit_settled(axes: Axes, curves: Sequence[tuple[np.ndarray, np.ndarray]], share: float) -> None:
    """Lets the vertical axis fit what curves show after a share of the longest one."""
    last = max(x[-1] for x, _ in curves)
    settled = np.concatenate([y[x >= share * last] for x, y in curves])
    low, high = settled.min(), settled.max()
    margin = high - low or 0.1 * abs(low) or 1.0
    axes.set_ylim(low - 0.06 * margin, high + 0.12 * margin)
    axes.yaxis.set_major_locator(MaxNLocator(4))


def cost_axis(axes: Axes, costs: Sequence[float]) -> None:
    """Makes the horizontal axis logarithmic where costs differ much; few ticks in any case."""
    if max(costs) > 10 * min(costs):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3), numticks=4))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter("{x:g}")
