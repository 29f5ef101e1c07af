"""What a larger teacher buys, and what no other method beats."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Mean, Pair, Results, Row
from pipeline.reporting.render.plot_style import (
    MANY_SEEDS,
    Look,
    Panel,
    Plot,
    handles_of,
    legend_below,
    legend_height,
    looks_of,
    measure_panels,
)
from pipeline.reporting.render.table import amount, sized


def scores_by_teacher_size(results: Results, sizes: Mapping[str, int]) -> Plot | None:
    """A line for each method over the sizes of its teachers; None for fewer than two sizes."""
    teachers = {pair.teacher for pair in results.pairs if pair.teacher}
    students = list(dict.fromkeys(pair.student for pair in results.pairs))
    if len(teachers) < 2 or not teachers <= set(sizes):
        return None
    looks = looks_of(results.labels)
    below = legend_height(results.labels)
    figure, found = measure_panels(students, results.ranked_measures, row_height=2.1, legend=below)
    for panel in found:
        _teacher_size_panel(panel, results, sizes, looks)
        if panel.first:
            panel.axis.set_ylabel(f"student {sized(panel.key, sizes)}")
    legend_below(figure, handles_of(looks, lines=True))
    return Plot(
        "scores_by_teacher_size",
        "Score against teacher size",
        "Lines join means over training seeds, small dots are the seeds. Sizes are on a "
        "logarithmic scale; scores don't begin at zero.",
        figure,
    )


def _teacher_size_panel(
    panel: Panel[str], results: Results, sizes: Mapping[str, int], looks: Mapping[str, Look]
) -> None:
    axis, measure = panel.axis, panel.measure
    pairs = sorted(
        (pair for pair in results.pairs if pair.student == panel.key and pair.teacher),
        key=lambda pair: sizes[pair.teacher],
    )
    for label, look in looks.items():
        found = _along(results, pairs, measure, label)
        _line(axis, [sizes[row.teacher] for row in found], list(found.values()), look)

    axis.set_xscale("log")
    axis.margins(x=0.12)
    axis.xaxis.set_major_locator(FixedLocator([sizes[pair.teacher] for pair in pairs]))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xticklabels([f"{pair.teacher}\n{amount(sizes[pair.teacher])}" for pair in pairs])
    axis.yaxis.set_major_locator(MaxNLocator(5))
    axis.set_title(f"{measure.heading}\n{measure.detail}")


def _along(results: Results, pairs: list[Pair], measure: Measure, label: str) -> dict[Row, Mean]:
    """The means of a method, pair by pair."""
    rows = [row for pair in pairs for row in results.methods[pair] if row.label == label]
    return results.means_by_row(tuple(rows), measure)


def _line(axis: Axes, places: list[int], means: list[Mean], look: Look) -> None:
    axis.plot(
        places,
        [mean.value for mean in means],
        color=look.colour,
        linestyle=look.line,
        marker=look.marker,
        markersize=4.5,
        linewidth=1.2,
    )
    for place, mean in zip(places, means, strict=True):
        dots(axis, [place] * mean.seed_count, mean.seed_values, look.colour)


def dots(axis: Axes, x: Sequence[float], y: Sequence[float], colour: str) -> None:
    """Small dots for the seeds beside their mean."""
    axis.plot(
        x,
        y,
        linestyle="none",
        marker="o",
        markersize=1.8,
        color=colour,
        alpha=0.55,
        rasterized=len(x) > MANY_SEEDS,
    )


def frontier(
    points: list[tuple[float, float]], *, higher_is_better: bool
) -> list[tuple[float, float]]:
    """The (cost, score) points to which no other is better in one and as good in the other."""
    sign = 1 if higher_is_better else -1
    front: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda point: (point[0], -sign * point[1])):
        if not front or sign * y > sign * front[-1][1]:
            front.append((x, y))
    return front
