"""Figures of quality against cost: of finished students, and held-out NLL on the way there."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.reporting.costs.attribution import ACCOUNTS, IN_FULL, OWN, CostData
from pipeline.reporting.costs.quality_vs_cost import (
    FLOPS,
    SECONDS,
    CostComparison,
    Unit,
    cost_comparisons,
    has_visible_budgets,
    mean_costs,
)
from pipeline.reporting.plots.figures import Panel, Plot, cost_axis, fit_settled, multiples_plot
from pipeline.reporting.plots.intervals import Estimate
from pipeline.reporting.plots.looks import GREY, Style, handles_of, styles_of
from pipeline.reporting.plots.scores import estimate_of

SETTLED = 0.3  # share of a curve after which it must fit on the axis
UNITS = (SECONDS, FLOPS)
DIGITS = 5  # of numbers in the page's data
CURVES = {
    OWN: "Means over training seeds, from the first validation to the last, against the student's "
    "own time and FLOPs. Axes don't begin at zero.",
    IN_FULL: "The same curves, each further right by what was paid before its first step: for "
    "{paid_for}.",
}
HIDDEN = (
    " In full, where nearly all is paid before the first step, the curves of {hidden} of {pairs} "
    "pairs would be vertical lines: they are not drawn."
)


def cost_choices(data: CostData, comparisons: Comparisons) -> dict[str, object] | None:
    """What the page draws of scores against costs; None where no cost is known."""
    results = comparisons.results
    costs = [[mean_costs(data, unit, account) for account in ACCOUNTS] for unit in UNITS]
    primary = results.primary_measures
    measures = sorted(results.ranked_measures, key=lambda measure: measure not in primary)
    if not measures or not any(np.isfinite([*of_unit[0].values()]).any() for of_unit in costs):
        return None
    styles = styles_of(results)
    places = {method: place for place, method in enumerate(styles)}
    points = {
        row: {
            "method": places[row.method],
            "scores": [_score(comparisons, row, measure) for measure in measures],
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
            {"label": method, "colour": style.colour, "marker": style.marker}
            for method, style in styles.items()
        ],
        "pairs": [
            {"title": results.title(pair), "points": [points[row] for row in rows]}
            for pair, rows in results.methods.items()
        ],
    }


def _score(comparisons: Comparisons, row: Row, measure: Measure) -> list[float | None] | None:
    """A mean and both ends of its interval; None where it was not measured."""
    if (row, measure) not in comparisons.results.means:
        return None
    estimate = estimate_of(comparisons, row, measure)
    return [*map(_number, (estimate.value, estimate.low, estimate.high))]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(f"{value:.{DIGITS}g}")


def _paid_for(data: CostData) -> str:
    """What a training pays for in full, beside itself."""
    trials = ", and the trials that its settings were chosen from" if data.trials else ""
    return f"the student's start, its teacher, the teacher's texts and cache{trials}"


Points = Sequence[tuple[float, Estimate]]  # costs and scores


def quality_by_cost(data: CostData, comparisons: Comparisons) -> Plot | None:
    """The first primary measure against the cost in full, a panel for each pair."""
    results = comparisons.results
    in_full = {unit: mean_costs(data, unit, IN_FULL) for unit in UNITS}
    unit = SECONDS if np.isnan(list(in_full[FLOPS].values())).all() else FLOPS
    costs = in_full[unit]
    points = {
        pair: [
            (costs[row], estimate_of(comparisons, row, measure))
            for measure in results.primary_measures[:1]
            for row in results.means_by_row(rows, measure)
            if not np.isnan(costs[row])
        ]
        for pair, rows in results.methods.items()
    }
    shown = {pair: results.title(pair) for pair, of_pair in points.items() if of_pair}
    if not shown:
        return None
    measure, styles = results.primary_measures[0], styles_of(results)

    def draw(panel: Panel[str, Pair]) -> None:
        _draw_points(panel.axes, points[panel.column], styles)
        panel.axes.set_xlabel(f"{unit.title}, {IN_FULL}")

    return multiples_plot(
        "quality_by_cost",
        f"{measure.metric.title} against cost",
        f"{measure.metric.title} with 95 % intervals against {unit.title} {IN_FULL}: with "
        f"{_paid_for(data)}. The grey steps are the Pareto front: no other method beats those on "
        "it in both score and cost.",
        draw,
        {"": ""},
        shown,
        1.7,
        legend=lambda: handles_of(styles, lines=False),
        narrowest=2.0,
        label=f"{measure.heading} ({measure.metric.unit})",
    )


def _draw_points(axes: Axes, points: Points, styles: Mapping[str, Style]) -> None:
    for cost, score in points:
        style = styles[score.line]
        ends = (score.low, score.high)
        axes.plot((cost, cost), ends, color=style.colour, linewidth=1, alpha=0.7)
        axes.plot(cost, score.value, linestyle="none", marker=style.marker, color=style.colour)
    measure = points[0][1].column
    front = pareto_front(
        [(cost, score.value) for cost, score in points],
        higher_is_better=bool(measure.metric.higher_is_better),
    )
    axes.step(*zip(*front, strict=True), where="post", color=GREY, linewidth=0.8, zorder=1)
    cost_axis(axes, [cost for cost, _ in points])
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
    """Held-out NLL against seconds and FLOPs, a line a method; None where it was not measured.

    In full a pair is left out, and counted in the caption, whose curves would be vertical lines.
    """
    by_account = _compared(data, results)
    in_full = by_account[IN_FULL]
    visible = {pair for (pair, _), each in in_full.items() if has_visible_budgets(each)}
    drawn = {key: each for key, each in in_full.items() if key[0] in visible}
    if not (compared := drawn if account == IN_FULL else by_account[account]):
        return None
    pairs = {pair for pair, _ in in_full}
    hidden = HIDDEN.format(hidden=len(pairs - visible), pairs=len(pairs))
    styles = styles_of(results)

    def draw(panel: Panel[Pair, Unit]) -> None:
        if comparison := compared.get((panel.row, panel.column)):
            _draw_curves(panel.axes, comparison, styles)
        else:
            panel.axes.set_axis_off()

    return multiples_plot(
        "nll_by_cost" if account == OWN else "nll_by_full_cost",
        f"Held-out NLL against training cost, {account}",
        CURVES[account].format(paid_for=_paid_for(data)) + (hidden if pairs > visible else ""),
        draw,
        {pair: results.title(pair) for pair, _ in compared},
        {unit: "" for _, unit in compared},
        1.5,
        legend=lambda: handles_of(styles),
        narrowest=2.0,
        label="nats/token",
    )


def _compared(
    data: CostData, results: Results
) -> dict[str, dict[tuple[Pair, Unit], CostComparison]]:
    """The comparisons by account, then by pair and unit."""
    compared: dict[str, dict[tuple[Pair, Unit], CostComparison]] = defaultdict(dict)
    for unit in UNITS:
        for comparison in cost_comparisons(data, unit):
            if comparison.pair in results.pairs:
                compared[comparison.account][comparison.pair, unit] = comparison
    return compared


def _draw_curves(axes: Axes, comparison: CostComparison, styles: Mapping[str, Style]) -> None:
    curves = {row: comparison.mean_curve(row) for row in comparison.curves}
    for row, curve in curves.items():
        style = styles[row.method]
        look = {"color": style.colour, "linestyle": style.line, "marker": style.marker}
        axes.plot(curve.costs, curve.nll_nats, **look, markersize=3.5, markevery=[-1])
    steps = [(np.linspace(0, 1, len(curve.costs)), curve.nll_nats) for curve in curves.values()]
    fit_settled(axes, steps, SETTLED)
    cost_axis(axes, np.concatenate([curve.costs for curve in curves.values()]).tolist())
    axes.set_xlabel(comparison.title)
