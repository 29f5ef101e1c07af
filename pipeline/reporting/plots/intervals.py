"""Panels of values with intervals on named lines: what most figures of the report are."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import Locator, MaxNLocator, MultipleLocator

from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.plots.figures import Panel, Plot, list_names, small_multiples
from pipeline.reporting.plots.looks import BETTER, INK, PAPER, Style, handles_of, shortened

LINE_HEIGHT = 0.06  # inches of a value on its line
GAP = 0.055  # inches between two lines
MOST_TICKS = 8  # of an axis with several dashed lines
WIDEST = 1.0  # times the span of the values: how far an axis extends on either side for intervals


@dataclass(frozen=True)
class Estimate:
    """A value with its interval, and where it is drawn."""

    row: str  # the title of the panel's row
    column: Measure
    line: str  # the name on the vertical axis
    series: str  # one of several on each line; empty where there is a single one
    value: float
    low: float
    high: float
    filled: bool = True


@dataclass(frozen=True)
class Layout:
    """What the panels of an interval figure have in common."""

    styles: Mapping[str, Style]  # by series, or by line where there is one series
    lines: Sequence[str]  # from top to bottom; those without an estimate are left out
    zeros: Sequence[float] = ()  # dashed lines
    unit: str = ""  # of the horizontal axis, if it isn't the measure's own
    better_side: bool = False  # whether the better side of zero is shaded
    shared: bool = False  # whether all horizontal axes are the same
    decorate: Callable[[Panel[str, Measure]], None] | None = None
    legend: Sequence[Line2D] = ()


def interval_plot(
    name: str, title: str, caption: str, estimates: Sequence[Estimate], layout: Layout
) -> Plot | None:
    """A line for each name, a panel for each measure of each row; None without any value."""
    drawn = {estimate.line for estimate in estimates}
    layout = replace(layout, lines=[line for line in layout.lines if line in drawn])
    if not estimates:
        return None
    return Plot(name, title, caption, lambda width: _figure(width, estimates, layout))


def _figure(width: float, estimates: Sequence[Estimate], layout: Layout) -> Figure:
    series = list(dict.fromkeys(estimate.series for estimate in estimates))
    names = [shortened(line, width / 3.5) for line in layout.lines]
    rows = {estimate.row: estimate.row for estimate in estimates}
    columns = {estimate.column: estimate.column.heading for estimate in estimates}
    several = {name: layout.styles[name] for name in series} if len(series) > 1 else {}
    legend = [*handles_of(several, lines=False), *layout.legend]
    height = GAP + len(names) * (LINE_HEIGHT * max(1.6, len(series)) + GAP)
    figure, panels = small_multiples(rows, columns, (width, height), legend, 1.55, names)
    for panel in panels:
        here = [one for one in estimates if (one.row, one.column) == (panel.row, panel.column)]
        _draw(panel, here, _limits(estimates if layout.shared else here, layout.zeros), layout)
        list_names(panel, names)
        panel.axes.set_xlabel(layout.unit or panel.column.detail)
        panel.axes.xaxis.set_major_locator(_ticks(panel.axes.get_xlim(), layout.zeros))
        if layout.decorate:
            layout.decorate(panel)
    return figure


def _ticks(limits: tuple[float, float], zeros: Sequence[float]) -> Locator:
    """A few round numbers, among them every dashed line where there are several."""
    if len(zeros) < 2:
        return MaxNLocator(4, steps=[1, 2, 2.5, 5, 10])
    step = zeros[1] - zeros[0]
    return MultipleLocator(step * math.ceil((limits[1] - limits[0]) / step / MOST_TICKS))


def _draw(
    panel: Panel[str, Measure],
    estimates: Sequence[Estimate],
    limits: tuple[float, float],
    layout: Layout,
) -> None:
    axes, (low, high) = panel.axes, limits
    axes.set_xlim(low, high)
    for one, height in zip(estimates, _heights(estimates, layout.lines), strict=True):
        draw_interval(axes, height, one, layout.styles[one.series or one.line])
    for zero in layout.zeros:
        axes.axvline(zero, color=INK, linestyle="--", linewidth=0.8, zorder=1)
    if layout.better_side:
        better = (0.0, high) if panel.column.metric.higher_is_better else (low, 0.0)
        axes.axvspan(*better, color=BETTER, alpha=0.09, linewidth=0, zorder=0)


def _heights(estimates: Sequence[Estimate], lines: Sequence[str]) -> list[float]:
    """Where each estimate is: on its line, the series around its middle."""
    series = list(dict.fromkeys(estimate.series for estimate in estimates))
    step = LINE_HEIGHT / (LINE_HEIGHT * max(1.6, len(series)) + GAP)
    return [
        lines.index(one.line) + step * (series.index(one.series) - (len(series) - 1) / 2)
        for one in estimates
    ]


def _limits(estimates: Sequence[Estimate], zeros: Sequence[float]) -> tuple[float, float]:
    """Room for all values, and for intervals unless they stretch the axis too far."""
    values = [*zeros, *(one.value for one in estimates)]
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    room = WIDEST * (high - low)
    lowest = max(low - room, min([low, *(one.low for one in estimates)]))
    highest = min(high + room, max([high, *(one.high for one in estimates)]))
    margin = 0.06 * (highest - lowest) or 0.05 * abs(low) or 1.0
    return lowest - margin, highest + margin


def draw_interval(axes: Axes, height: float, one: Estimate, style: Style) -> None:
    """A value and its interval on a horizontal line; an arrow where it exceeds the axis."""
    low, high = axes.get_xlim()
    colour = style.colour
    axes.plot((one.low, one.high), (height, height), color=colour, linewidth=1.2, alpha=0.8)
    face = colour if one.filled else PAPER
    axes.plot(one.value, height, marker=style.marker, color=colour, markerfacecolor=face)
    for exceeds, edge, arrow in ((one.low < low, low, "<"), (one.high > high, high, ">")):
        if exceeds:
            axes.plot(edge, height, marker=arrow, markersize=3.5, color=colour, clip_on=False)
