"""Small multiples in inches, and files of them that a page or a paper takes as they are."""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from pipeline.reporting.plots.looks import (
    COLUMN,
    INK,
    NORMAL,
    PAGE,
    PAPER,
    RC,
    Style,
    add_legend,
    legend_height,
    shortened,
    text_width,
    trim_font,
    wrapped,
)

RowKey = TypeVar("RowKey")
ColumnKey = TypeVar("ColumnKey")

NARROWEST = 1.9  # inches of a panel
TALLEST = 9.0  # inches of a paper's column
LINE = 1.25 * NORMAL / 72  # inches from a line of text to the next
TITLE_PAD = 6.0  # points between a panel and its title
AXIS = 0.5  # inches below a panel, for its ticks and label
TICK_LABELS = 0.5  # inches left of a panel without names, about
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
TICKS_APART = 0.27  # of the axis
DPI = 160
UNDATED = {
    "svg": dict.fromkeys(("Date", "Creator", "Format", "Type")),
    "pdf": dict.fromkeys(("CreationDate", "Creator", "Producer")),
    "png": {"Software": None},
}  # equal plots, equal files
DARK = (
    f"<style>svg{{color:{INK}}}@media (prefers-color-scheme:dark){{svg{{color:#e3e6eb}}"
    f'[style*="fill: {PAPER}"]{{fill:#14171c!important}}}}</style>'
)


@dataclass(frozen=True)
class Plot:
    """A figure with its title and caption."""

    name: str
    title: str
    caption: str
    draw: Callable[[float], Figure]  # for a width in inches
    narrowest: float = 0.0  # inches at which it can still be read

    def figure(self, width: float = PAGE) -> Figure | None:
        """The figure at a width in inches, laid out; None where it doesn't suit a column."""
        if self.narrowest > width:
            return None
        trim_font()
        with rc_context(RC):
            figure = self.draw(width)
            if width < PAGE and figure.get_figheight() > TALLEST:
                return None
            if engine := figure.get_layout_engine():  # once: each format would take as long again
                engine.execute(figure)
                figure.set_layout_engine(None)
        return figure

    def write(self, folder: Path) -> tuple[bytes, bytes]:
        """Writes it for a page, and into `column` for a paper's column.

        Returns: Both as SVG; the narrow one is empty where the figure doesn't suit a column.
        """
        (folder / "column").mkdir(exist_ok=True)
        wide, narrow = self.figure(PAGE), self.figure(COLUMN)
        assert wide is not None  # a page is as wide as any figure needs
        in_column = _write_vectors(narrow, folder / "column" / self.name) if narrow else b""
        svg = _write_vectors(wide, folder / self.name)
        with rc_context(RC):
            wide.set_facecolor("white")
            (folder / f"{self.name}.png").write_bytes(_saved(wide, "png", facecolor="white"))
        return svg, in_column


def _write_vectors(figure: Figure, path: Path) -> bytes:
    """Writes the figure as SVG and PDF; its texts and axes are in the colour of the text around."""
    with rc_context(RC):
        inked = _saved(figure, "svg").decode().replace(INK, "currentColor")
        svg = inked.replace("<defs>", f"{DARK}<defs>", 1).encode()
        path.with_suffix(".svg").write_bytes(svg)
        path.with_suffix(".pdf").write_bytes(_saved(figure, "pdf"))
    return svg


def _saved(figure: Figure, form: str, facecolor: str = "none") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form, metadata=UNDATED[form], dpi=DPI, facecolor=facecolor)
    return buffer.getvalue()


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
    size: tuple[float, float],
    legend: Sequence[Line2D | Patch],
    narrowest: float,
    names: Sequence[str] = (),
) -> tuple[Figure, list[Panel[RowKey, ColumnKey]]]:
    """A figure with a panel for each row and column, and their titles.

    `size` is the width of the figure and the height of a panel's inside; a panel with what stands
    left of it is at least `narrowest` wide, so a row of many columns takes several lines. `names`
    stand left of the first panel of each line.
    """
    width, height = size
    left = max((text_width(name) for name in names), default=0.0)
    most = max(1, math.floor((width - left) / narrowest))
    per_line = math.ceil(len(columns) / math.ceil(len(columns) / most))  # as even as it gets
    inside = (width - left) / per_line - TICK_LABELS * (not names) - 0.1
    titles = {key: wrapped(title, inside) for key, title in columns.items()}
    keys, lines = list(columns), []
    for row, title in rows.items():
        for start in range(0, len(keys), per_line):
            heading = wrapped("" if start else title, width - left - 0.3, NORMAL)
            lines.append((row, heading, keys[start : start + per_line]))
    text_lines = sum(
        _lines([heading]) + _lines([titles[key] for key in shown]) for _, heading, shown in lines
    )
    inches = len(lines) * (height + AXIS) + LINE * text_lines + legend_height(legend, width)
    figure = Figure(figsize=(width, inches), layout="constrained")
    if isinstance(engine := figure.get_layout_engine(), ConstrainedLayoutEngine):
        engine.set(w_pad=0.04, h_pad=0.04)
    panels = []
    grid = figure.subplots(len(lines), per_line, squeeze=False)
    for (row, heading, shown), line in zip(lines, grid, strict=True):
        _write_heading(list(line), heading, [titles[key] for key in shown])
        for column, axes in zip(shown, line, strict=False):
            panels.append(Panel(axes, row, column, axes is line[0]))
        for unused in line[len(shown) :]:
            unused.set_axis_off()
    if legend:
        add_legend(figure, legend, width)
    return figure, panels


def multiples_plot(
    name: str,
    title: str,
    caption: str,
    draw: Callable[[Panel[RowKey, ColumnKey]], None],
    rows: Mapping[RowKey, str],
    columns: Mapping[ColumnKey, str],
    height: float,
    *,
    legend: Callable[[], Sequence[Line2D]] = list,
    narrowest: float = NARROWEST,
    label: str = "",
    names: Sequence[str] = (),
) -> Plot:
    """A plot of small multiples that `draw` fills.

    `label` stands left of each line of panels, or `names` do, in a list from top to bottom.
    """

    def figure_of(width: float) -> Figure:
        """The figure at a width, whose legend is made in the figure's own style."""
        listed = [shortened(each, width / 3.5) for each in names]
        figure, panels = small_multiples(
            rows, columns, (width, height), legend(), narrowest, listed
        )
        for panel in panels:
            draw(panel)
            if names:
                _list_names(panel, listed)
            if label and panel.is_first:
                panel.axes.set_ylabel(label)
        return figure

    return Plot(name, title, caption, figure_of)


def _list_names(panel: Panel[RowKey, ColumnKey], names: Sequence[str]) -> None:
    """Makes the vertical axis a list of names, written at the first panel of a line."""
    axes = panel.axes
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names if panel.is_first else [""] * len(names))
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    for line in range(0, len(names), 2):
        axes.axhspan(line - 0.5, line + 0.5, color=INK, alpha=0.05, linewidth=0, zorder=0)


def _lines(texts: Sequence[str]) -> int:
    """Lines that the longest of these texts takes."""
    return max(text.count("\n") + 1 if text else 0 for text in texts)


def _write_heading(line: Sequence[Axes], heading: str, titles: Sequence[str]) -> None:
    """The titles of panels, under that of their row, which reaches across them."""
    for axes, title in zip(line, titles, strict=False):
        axes.set_title("\n" * _lines([heading]) + title)  # with room for the heading
    across = line[0].annotate(
        heading,
        (0, 1),
        xycoords="axes fraction",
        xytext=(0, TITLE_PAD + 1.13 * NORMAL * _lines(titles)),
        textcoords="offset points",
        va="bottom",
        fontsize=NORMAL,
    )
    across.set_in_layout(False)


Values = Sequence[float] | np.ndarray


def draw_line(axes: Axes, x: Values, y: Values, style: Style) -> None:
    """A line with about six markers."""
    look = {"color": style.colour, "linestyle": style.line, "marker": style.marker}
    axes.plot(x, y, **look, markersize=3.2, markevery=max(1, len(x) // 6))


def cost_axis(axes: Axes, costs: Sequence[float]) -> None:
    """Makes the horizontal axis logarithmic, with a few ticks that keep clear of each other."""
    axes.set_xscale("log")
    low, high = min(costs), max(costs)
    room = (high / low) ** 0.08 if high > low else 1.2
    axes.set_xlim(low / room, high * room)
    axes.xaxis.set_major_locator(FixedLocator(cost_ticks(low / room, high * room)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: power_text(value)))


def cost_ticks(low: float, high: float) -> list[float]:
    """Round numbers between two ends, the roundest first, none close to another."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks: list[float] = []
    for mantissas in ((1.0, 3.0, 2.0, 5.0), (1.5, 4.0, 6.0, 8.0), np.arange(1, 10, 0.1)):
        for tick in (mantissa * 10.0**power for mantissa in mantissas for power in powers):
            apart = (abs(math.log(tick / other)) / math.log(high / low) for other in ticks)
            if low <= tick <= high and all(distance > TICKS_APART for distance in apart):
                ticks.append(tick)
        if len(ticks) > 1:
            break
    return sorted(ticks)


def power_text(value: float) -> str:
    """A number with a power of ten where it is large: 3×10¹¹."""
    if not value or 1e-3 <= abs(value) < 1e5:
        return f"{value:g}"
    exponent = math.floor(math.log10(abs(value)) + 1e-9)
    power = f"10{str(exponent).translate(SUPERSCRIPTS)}"
    mantissa = f"{value / 10**exponent:.3g}"
    return power if mantissa == "1" else f"{mantissa}×{power}"


def fit_settled(axes: Axes, curves: Sequence[tuple[np.ndarray, np.ndarray]], share: float) -> None:
    """Lets the vertical axis fit what curves show after a share of the longest one."""
    last = max(x[-1] for x, _ in curves)
    settled = np.concatenate([y[x >= share * last] for x, y in curves])
    low, high = settled.min(), settled.max()
    margin = high - low or 0.1 * abs(low) or 1.0
    axes.set_ylim(low - 0.06 * margin, high + 0.12 * margin)
    axes.yaxis.set_major_locator(MaxNLocator(4))
