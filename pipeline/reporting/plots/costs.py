"""Figures of quality against cost: of finished students, and held-out NLL on the way there."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
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
from pipeline.reporting.plots.figures import Plot, cost_axis, fit_settled, multiples_plot
from pipeline.reporting.plots.looks import GREY, Style, handles_of, styles_of

SETTLED = 0.3  # share of a curve after which it must fit on the axis
UNITS = (SECONDS, FLOPS)
DIGITS = 5  # of numbers in the page's data


Score = tuple[float, float, float]  # a mean and its interval


def mean_costs(data: CostData, unit: Unit, account: str) -> dict[Row, float]:
    """The mean cost of each method's trainings; NaN where one is not known."""
    costs = data.costs[unit.column].loc[account].to_dict()
    return {
        row: float(np.mean([costs[path] for path in data.trained(row).values()]))
        for row in data.results.trained
    }


def _score(comparisons: Comparisons, row: Row, measure: Measure) -> Score | None:
    mean = comparisons.results.means.get((row, measure))
    interval = comparisons.intervals.get((row, measure))
    if mean is None:
        return None
    return mean.value, *((interval.low, interval.high) if interval else (mean.value, mean.value))


def cost_choices(data: CostData, comparisons: Comparisons) -> dict[str, object] | None:
    """What the page draws of scores against costs; None where no cost is known."""
    results = comparisons.results
    costs = [[mean_costs(data, unit, account) for account in ACCOUNTS] for unit in UNITS]
    primary = results.primary_measures
    measures = sorted(results.ranked_measures, key=lambda measure: measure not in primary)
    if not measures or not any(np.isfinite([*of_unit[0].values()]).any() for of_unit in costs):
        return None
    styles = styles_of(results)
    places = {label: place for place, label in enumerate(styles)}
    points = {
        row: {
            "method": places[row.label],
            "scores": [
                score and [*map(_number, score)]
                for score in (_score(comparisons, row, measure) for measure in measures)
            ],
            "costs": [[_number(of_account[row]) for of_account in of_unit] for of_unit in costs],
        }
        for row in results.trained
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
            {"title": results.title(pair), "points": [points[row] for row in rows]}
            for pair, rows in results.methods.items()
        ],
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(f"{value:.{DIGITS}g}")


def quality_by_cost(data: CostData, comparisons: Comparisons) -> Plot | None:
    """The first primary measure against the cost in full, a panel for each pair."""
    results = comparisons.results
    in_full = {unit: mean_costs(data, unit, IN_FULL) for unit in UNITS}
    unit = SECONDS if np.isnan(list(in_full[FLOPS].values())).all() else FLOPS
    points = {
        pair: _points(comparisons, rows, in_full[unit]) for pair, rows in results.methods.items()
    }
    shown = {pair: results.title(pair) for pair, of_pair in points.items() if of_pair}
    if not shown:
        return None
    measure, styles = results.primary_measures[0], styles_of(results)
    return multiples_plot(
        "quality_by_cost",
        f"{measure.metric.title} against cost",
        f"{measure.metric.title} with 95 % intervals against {unit.title} {IN_FULL}: with the "
        "student's start, its teacher, and the teacher's texts and cache. The grey steps are the "
        "Pareto front: no other method beats those on it in both score and cost.",
        lambda panel: _draw_points(panel.axes, points[panel.column], styles, measure, unit),
        {"": ""},
        shown,
        1.7,
        legend=lambda: handles_of(styles, lines=False),
        narrowest=2.0,
        label=f"{measure.heading} ({measure.metric.unit})",
    )


Points = Mapping[Row, tuple[float, Score]]  # cost and score


def _points(comparisons: Comparisons, rows: Sequence[Row], costs: Mapping[Row, float]) -> Points:
    """Methods whose score and cost are known."""
    return {
        row: (costs[row], score)
        for measure in comparisons.results.primary_measures[:1]
        for row in rows
        if (score := _score(comparisons, row, measure)) and not np.isnan(costs[row])
    }


def _draw_points(
    axes: Axes, points: Points, styles: Mapping[str, Style], measure: Measure, unit: Unit
) -> None:
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
    axes.set_xlabel(f"{unit.title}, {IN_FULL}")


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
    styles = styles_of(results)
    return multiples_plot(
        "nll_by_cost" if account == OWN else "nll_by_full_cost",
        f"Held-out NLL against training cost, {account}",
        CURVES[account],
        lambda panel: _draw_curves(panel.axes, compared.get((panel.row, panel.column)), styles),
        {pair: results.title(pair) for pair, _ in compared},
        {unit: "" for _, unit in compared},
        1.5,
        legend=lambda: handles_of(styles),
        narrowest=2.0,
        label="nats/token",
    )


CURVES = {
    OWN: "Means over training seeds, from the first validation to the last, against the student's "
    "own time and FLOPs. Axes don't begin at zero.",
    IN_FULL: "The same curves, each further right by what was paid before its first step: for the "
    "student's start, its teacher, and the teacher's texts and cache.",
}


def _draw_curves(
    axes: Axes, comparison: CostComparison | None, styles: Mapping[str, Style]
) -> None:
    if comparison is None:
        axes.set_axis_off()
        return
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
