"""Figures of quality against cost: final scores, and held-out NLL on the way."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.reporting.costs.attribution import IN_FULL, OWN, CostData
from pipeline.reporting.costs.quality_vs_cost import (
    FLOPS,
    SECONDS,
    STEPS,
    CostComparison,
    Unit,
    cost_comparisons,
)
from pipeline.reporting.render.figures import (
    GREY,
    Panel,
    Plot,
    Style,
    cost_axis,
    draw_seeds,
    fit_settled,
    handles_of,
    small_multiples,
    styles_of,
)
from pipeline.reporting.render.units import pair_title

PANELS = 48  # of a figure, beyond which only the first measures are drawn
SETTLED = 0.3  # share of a curve after which it must fit on the axis
SCORES = (
    "A row of panels for each accounting: the student's training alone (own), and with everything "
    "that it was made from (in full). Large markers are means over training seeds, small dots the "
    "seeds. The grey steps are the Pareto front: they join the methods that no other beats in both "
    "score and cost."
)
CURVES = (
    "Means over training seeds, from the first validation to the last, against the step, the "
    "student's own time and FLOPs, and those in full: there a line begins further right, since "
    "start, teacher, texts and cache are paid for before. Axes don't begin at zero."
)
Charge = tuple[Pair, str]  # a pair under an accounting
Costs = Mapping[Row, np.ndarray]  # of the seeds of each method


def scores_by_cost(data: CostData, unit: Unit, results: Results) -> Plot | None:
    """A marker for each method at its score and cost; None where costs are not known."""
    costs = _costs(data, unit, results)
    if not costs or not results.ranked_measures:
        return None

    styles = styles_of(results.labels)
    measures = results.ranked_measures[: max(1, PANELS // len(costs))]
    rows = {charge: pair_title(charge[0], data.sizes) for charge in costs}
    columns = {measure: f"{measure.heading}\n{measure.detail}" for measure in measures}
    legend = handles_of(styles, lines=False)
    figure, panels = small_multiples(rows, columns, 2.1 + 0.03 * len(styles), legend)
    for panel in panels:
        _score_panel(panel, results, costs[panel.row], styles)
        panel.axes.set_xlabel(f"{unit.title}, {panel.row[1]}")
    left_out = len(results.ranked_measures) - len(measures)
    more = f" {left_out} further measures are in the tables alone." if left_out else ""
    return Plot(f"scores_by_{unit.name}", f"Score against {unit.title}", SCORES + more, figure)


def _costs(data: CostData, unit: Unit, results: Results) -> dict[Charge, Costs]:
    """The cost of each method's trainings, without the methods for which it is not known."""
    charges: dict[Charge, Costs] = {}
    for pair in results.pairs:
        for account in (OWN, IN_FULL):
            column = data.costs[unit.column].loc[account]
            costs = {
                row: column[list(data.trained(row).values())].to_numpy()
                for row in results.methods[pair]
            }
            known = {row: values for row, values in costs.items() if not np.isnan(values).any()}
            if known:
                charges[pair, account] = known
    return charges


def _score_panel(
    panel: Panel[Charge, Measure], results: Results, costs: Costs, styles: Mapping[str, Style]
) -> None:
    axes, measure = panel.axes, panel.column
    means = results.means_by_row(tuple(costs), measure)
    if not means:
        return
    points = {row: (float(costs[row].mean()), mean.value) for row, mean in means.items()}
    for row, mean in means.items():
        style = styles[row.label]
        if mean.seed_count == len(costs[row]):
            draw_seeds(axes, costs[row].tolist(), mean.seed_values, style.colour)
        axes.plot(*points[row], linestyle="none", marker=style.marker, color=style.colour)
    front = pareto_front(
        list(points.values()), higher_is_better=bool(measure.metric.higher_is_better)
    )
    axes.step(*zip(*front, strict=True), where="post", color=GREY, linewidth=0.8, zorder=1)
    cost_axis(axes, [cost for cost, _ in points.values()])


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


def nll_by_cost(data: CostData, results: Results) -> Plot | None:
    """Held-out NLL against each unit of cost, a line a method; None where it was not measured."""
    comparisons = {
        (comparison.pair, comparison.title): comparison
        for unit in (STEPS, SECONDS, FLOPS)
        for comparison in cost_comparisons(data, unit)
        if comparison.account in (OWN, IN_FULL) and comparison.pair in results.pairs
    }
    if not comparisons:
        return None
    styles = styles_of(results.labels)
    pairs = dict.fromkeys(pair for pair, _ in comparisons)
    rows = {pair: f"{pair_title(pair, data.sizes)}\nheld-out NLL (nats/token)" for pair in pairs}
    columns = dict.fromkeys((title for _, title in comparisons), "")
    figure, panels = small_multiples(rows, columns, 2.2, handles_of(styles))
    for panel in panels:
        if comparison := comparisons.get((panel.row, panel.column)):
            _curve_panel(panel.axes, comparison, styles)
        else:
            panel.axes.set_axis_off()
    return Plot("nll_by_cost", "Held-out NLL against training cost", CURVES, figure)


def _curve_panel(axes: Axes, comparison: CostComparison, styles: Mapping[str, Style]) -> None:
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
    axes.autoscale_view()
    steps = [(np.linspace(0, 1, len(curve.costs)), curve.nll_nats) for curve in curves.values()]
    fit_settled(axes, steps, SETTLED)
    cost_axis(axes, [curve.costs[-1] for curve in curves.values()])
    axes.set_xlabel(comparison.title)
