"""Quality against cost: what each method reached, and how it got there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba_array
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from pipeline.reporting.analysis.scores import Mean, Pair, Row
from pipeline.reporting.costs.attribution import IN_FULL, OWN, Account
from pipeline.reporting.costs.books import Books
from pipeline.reporting.costs.quality_vs_cost import FLOPS, SECONDS, STEPS, Race, Unit, races
from pipeline.reporting.render.plot_style import (
    GREY,
    MANY_SEEDS,
    Look,
    Panel,
    Plot,
    handles_of,
    legend_below,
    legend_height,
    looks_of,
    measure_panels,
    panels,
)
from pipeline.reporting.render.table import pair_title
from pipeline.reporting.sections.teacher_size_plot import frontier

PANELS = 48  # of a figure, beyond which only the first measures are drawn
SETTLED = 0.3  # share of a course after which it must fit on the axis

SCORES = (
    "A row of panels for each way of charging: the student's training alone (own), and with "
    "all that it was made from (in full). Large markers are means over training seeds, small "
    "dots the seeds. The grey steps are the Pareto front: they join the methods that no other "
    "beats in both score and cost."
)
COURSES = (
    "Means over training seeds, from the first measurement to the last, against the step, the "
    "student's own time and FLOPs, and those in full. A line begins further right in full: "
    "start, teacher, texts and cache are paid before. Axes don't begin at zero."
)


@dataclass(frozen=True)
class Charged:
    """A row of panels: a pair, and how its trainings are charged."""

    pair: Pair
    account: Account


def scores_by_cost(books: Books, unit: Unit) -> Plot | None:
    """A dot for each method: what it reached and what that took; None if costs are not known."""
    results, looks = books.results, looks_of(books.results.labels)
    keys = [Charged(pair, account) for pair in results.pairs for account in (OWN, IN_FULL)]
    paid = {key: _paid(books, key, unit) for key in keys}
    keys = [key for key in keys if paid[key]]
    if not keys or not results.ranked_measures:
        return None
    below = legend_height(results.labels)
    shown = results.ranked_measures[: max(1, PANELS // len(keys))]
    figure, found = measure_panels(keys, shown, 2.1 + 0.03 * len(looks), legend=below)
    for panel in found:
        _score_panel(panel, books, paid[panel.key], looks)
        panel.axis.set_xlabel(f"{unit.title}, {panel.key.account.title}")
        if panel.first:
            panel.axis.set_ylabel(pair_title(panel.key.pair, books.sizes).replace(", ", "\n"))
    legend_below(figure, handles_of(looks, lines=False))
    return Plot(
        f"scores_by_{unit.name}",
        f"Score against {unit.title}",
        SCORES + _left_out(len(results.ranked_measures) - len(shown)),
        figure,
    )


def _left_out(measures: int) -> str:
    many = "there are too many pairs of teacher and student to draw all"
    return f" {measures} further measures are in the tables alone: {many}." if measures else ""


def _paid(books: Books, key: Charged, unit: Unit) -> dict[Row, list[float]]:
    """What each method's trainings took, those left out whose cost is not known."""
    found = {}
    for row in books.results.methods[key.pair]:
        charged = key.account.charges(books.ledger)
        charges = [charged[path] for path in books.trained(row).values()]
        values = [None if charge is None else unit.value(charge) for charge in charges]
        known = [value for value in values if value is not None]
        if known and len(known) == len(values):
            found[row] = known
    return found


def _score_panel(
    panel: Panel[Charged],
    books: Books,
    paid: Mapping[Row, list[float]],
    looks: Mapping[str, Look],
) -> None:
    axis, measure = panel.axis, panel.measure
    found = books.results.means_by_row(tuple(paid), measure)
    axis.set_title(f"{measure.heading}\n{measure.detail}")
    if not found:
        return
    means = [(float(np.mean(paid[row])), mean.value) for row, mean in found.items()]
    _seeds(axis, found, paid, looks)
    _markers(axis, means, [looks[row.label] for row in found], area=25)
    front = frontier(means, higher_is_better=bool(measure.metric.higher_is_better))
    axis.step(*zip(*front, strict=True), where="post", color=GREY, linewidth=0.8, zorder=1)
    _scale(axis, [cost for cost, _ in means])


def _seeds(
    axis: Axes,
    found: Mapping[Row, Mean],
    paid: Mapping[Row, list[float]],
    looks: Mapping[str, Look],
) -> None:
    """Small dots for the seeds, those of all methods together: there may be thousands."""
    shown = {row: mean for row, mean in found.items() if mean.seed_count == len(paid[row])}
    if shown:
        x = np.concatenate([paid[row] for row in shown])
        y = np.concatenate([mean.seed_values for mean in shown.values()])
        of_rows = to_rgba_array([looks[row.label].colour for row in shown])
        colours = np.repeat(of_rows, [mean.seed_count for mean in shown.values()], axis=0)
        many = max(mean.seed_count for mean in shown.values()) > MANY_SEEDS
        axis.scatter(x, y, s=3.2, c=colours, alpha=0.55, linewidths=0, rasterized=many)


def _markers(
    axis: Axes, points: Sequence[tuple[float, float]], looks: Sequence[Look], area: float
) -> None:
    """A marker at each point, those of one shape together."""
    for shape in dict.fromkeys(look.marker for look in looks):
        chosen = [place for place, look in enumerate(looks) if look.marker == shape]
        x, y = zip(*(points[place] for place in chosen), strict=True)
        colours = [looks[place].colour for place in chosen]
        axis.scatter(x, y, s=area, c=colours, marker=shape, linewidths=0, zorder=3)


def _scale(axis: Axes, costs: Sequence[float]) -> None:
    """A logarithmic scale where costs lie far apart."""
    if max(costs) > 10 * min(costs):
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.xaxis.set_minor_locator(NullLocator())
    else:
        axis.xaxis.set_major_locator(MaxNLocator(4))


def courses_by_cost(books: Books) -> Plot | None:
    """Held-out NLL against each cost, a line a method; None where it was never measured."""
    found = {pair: [] for pair in books.results.pairs}
    for unit in (STEPS, SECONDS, FLOPS):
        for race in races(books, unit):
            if race.account in (OWN, IN_FULL):
                found[race.pair].append(race)
    rows = [of_pair for of_pair in found.values() if of_pair]
    if not rows:
        return None
    looks, below = looks_of(books.results.labels), legend_height(books.results.labels)
    columns = max(len(of_pair) for of_pair in rows)
    figure, axes = panels(len(rows), columns, 2.2 * len(rows) + below)
    for line, of_pair in zip(axes, rows, strict=True):
        for axis, race in zip(line, of_pair, strict=False):
            _race_panel(axis, race, looks)
        for unused in line[len(of_pair) :]:
            unused.set_axis_off()
        title = pair_title(of_pair[0].pair, books.sizes).replace(", ", "\n")
        line[0].set_ylabel(f"{title}\nheld-out NLL (nats/token)")
    legend_below(figure, handles_of(looks, lines=True))
    return Plot(
        "nll_by_cost",
        "Held-out NLL against what had been paid",
        COURSES,
        figure,
    )


def _race_panel(axis: Axes, race: Race, looks: Mapping[str, Look]) -> None:
    lines = {row: _line(race, row) for row in race.courses}
    of_rows = [looks[row.label] for row in lines]
    axis.add_collection(
        LineCollection(
            [np.stack(line, axis=1) for line in lines.values()],
            colors=[look.colour for look in of_rows],
            linestyles=[look.line for look in of_rows],
            linewidths=1.0,
        )
    )
    ends = [(costs[-1], nll_nats[-1]) for costs, nll_nats in lines.values()]
    _markers(axis, ends, of_rows, area=9)
    axis.autoscale_view()
    settled = np.concatenate([nll[int(SETTLED * len(nll)) :] for _, nll in lines.values()])
    low, high = settled.min(), settled.max()
    axis.set_ylim(low - 0.06 * (high - low) - 1e-9, high + 0.12 * (high - low) + 1e-9)
    _scale(axis, [costs[-1] for costs, _ in lines.values()])
    axis.yaxis.set_major_locator(MaxNLocator(4))
    axis.set_xlabel(race.title)


def _line(race: Race, row: Row) -> tuple[np.ndarray, np.ndarray]:
    """The mean over seeds of each measurement: of its cost and of its NLL."""
    seeds = list(race.courses[row].values())
    count = min(len(course.costs) for course in seeds)
    costs = np.mean([course.costs[:count] for course in seeds], axis=0)
    return costs, np.mean([course.nll_nats[:count] for course in seeds], axis=0)
