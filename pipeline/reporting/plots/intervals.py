"""Panels of values with intervals on named lines: what most figures of the report are."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import Locator, MaxNLocator, MultipleLocator

from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.plots.figures import Panel, Plot, multiples_plot
from pipeline.reporting.plots.looks import BETTER, INK, PAPER, Style, handles_of

LINE_HEIGHT = 0.06  # inches of a value on its line
GAP = 0.055  # inches between two lines
MOST_TICKS = 8  # of an axis with several dashed lines
HALVED = 2.5  # distances of two dashed lines: a shorter axis has ticks between them
WIDEST = 1.0  # times the span of the values: how far an axis extends at least for intervals


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


def interval_plot(
    name: str,
    title: str,
    caption: str,
    estimates: Sequence[Estimate],
    styles: Mapping[str, Style],
    lines: Sequence[str],
    *,
    zeros: Sequence[float] = (),
    unit: str = "",
    better_side: bool = False,
    shared: bool = False,
    decorate: Callable[[Panel[str, Measure]], None] | None = None,
    legend: Sequence[Line2D] = (),
) -> Plot | None:
    """A line for each name, a panel for each measure of each row; None without any value.

    `styles` are by series, or by line where there is one series. Of `lines`, from top to bottom,
    those without an estimate are left out. `zeros` are dashed lines; the better side of zero may be
    shaded. `unit` is that of the horizontal axis, if it isn't the measure's own; all axes may be
    the same.
    """
    drawn = {estimate.line for estimate in estimates}
    names = [line for line in lines if line in drawn]
    series = list(dict.fromkeys(estimate.series for estimate in estimates))
    several = {each: styles[each] for each in series} if len(series) > 1 else {}

    def draw(panel: Panel[str, Measure]) -> None:
        """Draws the intervals of a row and a measure, with the marks and the better side."""
        here = [each for each in estimates if (each.row, each.column) == (panel.row, panel.column)]
        axes, (low, high) = panel.axes, _limits(estimates if shared else here, zeros)
        axes.set_xlim(low, high)
        _draw_intervals(axes, here, styles, names)
        for zero in zeros:
            axes.axvline(zero, color=INK, linestyle="--", linewidth=0.8, zorder=1)
        if better_side:
            better = (0.0, high) if panel.column.metric.higher_is_better else (low, 0.0)
            axes.axvspan(*better, color=BETTER, alpha=0.09, linewidth=0, zorder=0)
        axes.set_xlabel(unit or panel.column.detail)
        axes.xaxis.set_major_locator(_ticks(axes.get_xlim(), zeros))
        if decorate:
            decorate(panel)

    if not estimates:
        return None
    return multiples_plot(
        name,
        title,
        caption,
        draw,
        {estimate.row: estimate.row for estimate in estimates},
        {estimate.column: estimate.column.heading for estimate in estimates},
        GAP + len(names) * (LINE_HEIGHT * max(1.6, len(series)) + GAP),
        legend=lambda: [*handles_of(several, lines=False), *legend],
        narrowest=1.55,
        names=names,
    )


def _ticks(limits: tuple[float, float], zeros: Sequence[float]) -> Locator:
    """A few round numbers, among them every dashed line where there are several."""
    if len(zeros) < 2:
        return MaxNLocator(4, steps=[1, 2, 2.5, 5, 10])
    apart = zeros[1] - zeros[0]
    width = (limits[1] - limits[0]) / apart
    return MultipleLocator(apart * (0.5 if width < HALVED else math.ceil(width / MOST_TICKS)))


def _limits(estimates: Sequence[Estimate], zeros: Sequence[float]) -> tuple[float, float]:
    """Room for all values, and for intervals but those that would stretch the axis too far.

    Half of them at least are seen whole: if all left the axis, none could be compared.
    """
    values = [*zeros, *(estimate.value for estimate in estimates)]
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    lengths = [each.high - each.low for each in estimates if math.isfinite(each.high - each.low)]
    room = max(WIDEST * (high - low), median(lengths or [0.0]))
    lowest = max(low - room, min([low, *(estimate.low for estimate in estimates)]))
    highest = min(high + room, max([high, *(estimate.high for estimate in estimates)]))
    margin = 0.06 * (highest - lowest) or 0.05 * abs(low) or 1.0
    return lowest - margin, highest + margin


def _draw_intervals(
    axes: Axes, estimates: Sequence[Estimate], styles: Mapping[str, Style], lines: Sequence[str]
) -> None:
    """Each value on its line, the series around its middle; an arrow where one exceeds the axis."""
    low, high = axes.get_xlim()
    series = list(dict.fromkeys(estimate.series for estimate in estimates))
    step = LINE_HEIGHT / (LINE_HEIGHT * max(1.6, len(series)) + GAP)
    for each in estimates:
        style, middle = styles[each.series or each.line], lines.index(each.line)
        height = middle + step * (series.index(each.series) - (len(series) - 1) / 2)
        colour, ends = style.colour, (each.low, each.high)
        axes.plot(ends, (height, height), color=colour, linewidth=1.2, alpha=0.8)
        face = colour if each.filled else PAPER
        axes.plot(each.value, height, marker=style.marker, color=colour, markerfacecolor=face)
        for exceeds, edge, arrow in ((ends[0] < low, low, "<"), (ends[1] > high, high, ">")):
            if exceeds:
                axes.plot(edge, height, marker=arrow, markersize=3.5, color=colour, clip_on=False)


def by_mean(values: Mapping[str, Sequence[float]]) -> list[str]:
    """The names by the mean of their values, the lowest first; those without a value come last."""
    means = {name: sum(some) / len(some) for name, some in values.items() if some}
    return sorted(values, key=lambda name: means.get(name, math.inf))
