"""Figures of quality against cost: of finished students, and held-out NLL on the way there."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Results, Row
from pipeline.reporting.costs.attribution import ACCOUNTS, IN_FULL, OWN, CostData
from pipeline.reporting.costs.quality_vs_cost import (
    FLOPS,
    SECONDS,
    CostComparison,
    Unit,
    cost_comparisons,
)
from pipeline.reporting.plots.figures import Plot, cost_axis, fit_settled, small_multiples
from pipeline.reporting.plots.looks import GREY, Style, handles_of, styles_of
from pipeline.reporting.render.units import pair_title

SETTLED = 0.3  # share of a curve after which it must fit on the axis
UNITS = (SECONDS, FLOPS)
DIGITS = 5  # of numbers in the page's data


Score = tuple[float, float, float]  # a mean and its interval


def mean_costs(data: CostData, unit: Unit, account: str) -> dict[Row, float]:
    """The mean cost of each method's trainings; NaN where one is not known."""
    costs = data.costs[unit.column].loc[account].to_dict()
    return {
        row: float(np.mean([costs[path] for path in data.trained(row).values()]))
        for rows in data.results.methods.values()
        for row in rows
    }


def _score(results: Results, comparisons: Comparisons, row: Row, measure: Measure) -> Score | None:
    mean = results.means.get((row, measure))
    interval = comparisons.intervals.get((row, measure))
    if mean is None:
        return None
    return mean.value, *((interval.low, interval.high) if interval else (mean.value, mean.value))


def cost_choices(
    data: CostData, results: Results, comparisons: Comparisons
) -> dict[str, object] | None:
    """What the page draws of scores against costs; None where no cost is known."""
    costs = [[mean_costs(data, unit, account) for account in ACCOUNTS] for unit in UNITS]
    primary = results.primary_measures
    measures = sorted(results.ranked_measures, key=lambda measure: measure not in primary)
    known = any(not np.isnan(cost) for of_unit in costs for cost in of_unit[0].values())
    if not measures or not known:
        return None
    styles = styles_of(results)

    def point(row: Row) -> dict[str, object]:
        scores = (_score(results, comparisons, row, measure) for measure in measures)
        return {
            "method": list(styles).index(row.label),
            "scores": [score and list(map(_number, score)) for score in scores],
            "costs": [[_number(of_account[row]) for of_account in of_unit] for of_unit in costs],
        }

    return {
        "measures": [
            {
                "title": measure.heading,
                "detail": measure.detail,
                "higher": measure.metric.higher_is_better,
                "decimals": measure.metric.decimals,
            }
            for measure in measures
        ],
        "units": [unit.title for unit in UNITS],
        "accounts": ACCOUNTS,
        "methods": [
            {"label": label, "colour": style.colour, "marker": style.marker}
            for label, style in styles.items()
        ],
        "pairs": [
            {"title": pair_title(pair, data.sizes), "points": list(map(point, rows))}
            for pair, rows in results.methods.items()
        ],
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(f"{value:.{DIGITS}g}")


def quality_by_cost(data: CostData, results: Results, comparisons: Comparisons) -> Plot | None:
    """The first primary measure against the cost in full, a panel for each pair."""
    in_full = {unit: mean_costs(data, unit, IN_FULL) for unit in UNITS}
    unit = SECONDS if np.isnan(list(in_full[FLOPS].values())).all() else FLOPS
    points = {
        pair: _points(results, comparisons, rows, in_full[unit])
        for pair, rows in results.methods.items()
    }
    shown = {pair: pair_title(pair, data.sizes) for pair, found in points.items() if found}
    if not shown:
        return None
    measure, styles = results.primary_measures[0], styles_of(results)

    def draw(width: float) -> Figure:
        legend = handles_of(styles, lines=False)
        figure, panels = small_multiples({"": ""}, shown, (width, 1.7), legend, 2.0)
        for panel in panels:
            _draw_points(panel.axes, points[panel.column], styles, measure)
            panel.axes.set_xlabel(f"{unit.title}, {IN_FULL}")
            if panel.is_first:
                panel.axes.set_ylabel(f"{measure.heading} ({measure.metric.unit})")
        return figure

    caption = (
        f"{measure.metric.title} with 95 % intervals against {unit.title} {IN_FULL}: with the "
        "student's start, its teacher, and the teacher's texts and cache. The grey steps are the "
        "Pareto front: no other method beats those on it in both score and cost."
    )
    return Plot("quality_by_cost", f"{measure.metric.title} against cost", caption, draw)


Points = Mapping[Row, tuple[float, Score]]  # cost and score


def _points(
    results: Results, comparisons: Comparisons, rows: Sequence[Row], costs: Mapping[Row, float]
) -> Points:
    """Methods whose score and cost are known."""
    scores = {
        row: _score(results, comparisons, row, measure)
        for measure in results.primary_measures[:1]
        for row in rows
    }
    return {
        row: (costs[row], score)
        for row, score in scores.items()
        if score and not np.isnan(costs[row])
    }


def _draw_points(axes: Axes, points: Points, styles: Mapping[str, Style], measure: Measure) -> None:
    for row, (cost, (value, low, high)) in points.items():
        style = styles[row.label]
        axes.plot((cost, cost), (low, high), color=style.colour, linewidth=1, alpha=0.7)
        axes.plot(cost, value, linestyle="none", marker=style.marker, color=style.colour)
    front = pareto_front(
        [(cost, score[0]) for cost, score in points.values()],
        higher_is_better=bool(measure.metric.higher_is_better),
    )
    axes.step(*zip(*front, strict=True), where="post", color=GREY, linewidth=0.8, zorder=1)
    cost_axis(axes, [cost for cost, _ in points.values()])
    axes.yaxis.set_major_locator(MaxNLocator(4))


def pareto_front(
    points: Sequence[tuple[float, float]], *, higher_is_better: bool
) -> list[tuple[float, float]]:
    """The (cost, score) points that no other beats in one and equals in the other."""
    sign = 1 if higher_is_better else -1
    front: list[tuple[float, float]] = []
    for cost, score in sorted(points, key=lambda point: (point[0], -sign * point[1])):
        if not front or sign * score > sign * front[-1][1]:
            front.append((cost, score))
    return front


def nll_by_cost(data: CostData, results: Results, account: str = OWN) -> Plot | None:
    """Held-out NLL against seconds and FLOPs, a line a method; None where it was not measured."""
    compared = {
        (comparison.pair, unit): comparison
        for unit in UNITS
        for comparison in cost_comparisons(data, unit)
        if comparison.account == account and comparison.pair in results.pairs
    }
    if not compared:
        return None
    pairs = {pair: pair_title(pair, data.sizes) for pair, _ in compared}

    def draw(width: float) -> Figure:
        styles = styles_of(results)
        units = {unit: "" for _, unit in compared}
        figure, panels = small_multiples(pairs, units, (width, 1.5), handles_of(styles), 2.0)
        for panel in panels:
            if comparison := compared.get((panel.row, panel.column)):
                _draw_curves(panel.axes, comparison, styles)
            else:
                panel.axes.set_axis_off()
            if panel.is_first:
                panel.axes.set_ylabel("nats/token")
        return figure

    name = "nll_by_cost" if account == OWN else "nll_by_full_cost"
    title = "Held-out NLL against training cost"
    return Plot(name, f"{title}, {account}", CURVES[account], draw)


CURVES = {
    OWN: "Means over training seeds, from the first validation to the last, against the student's "
    "own time and FLOPs. Axes don't begin at zero.",
    IN_FULL: "The same curves, each further right by what was paid before its first step: for the "
    "student's start, its teacher, and the teacher's texts and cache.",
}


def _draw_curves(axes: Axes, comparison: CostComparison, styles: Mapping[str, Style]) -> None:
    curves = {row: comparison.mean_curve(row) for row in comparison.curves}
    for row, curve in curves.items():
        style = styles[row.label]
        axes.plot(
            curve.costs,
            curve.nll_nats,
            color=style.colour,
            linestyle=style.line,
            marker=style.marker,
            markersize=3.5,
            markevery=[-1],
        )
    steps = [(np.linspace(0, 1, len(curve.costs)), curve.nll_nats) for curve in curves.values()]
    fit_settled(axes, steps, SETTLED)
    cost_axis(axes, np.concatenate([curve.costs for curve in curves.values()]).tolist())
    axes.set_xlabel(comparison.title)
