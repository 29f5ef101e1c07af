"""Figures of all methods against each other: a matrix of differences, and mean ranks."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from pipeline.reporting.analysis.findings import Comparisons, Difference
from pipeline.reporting.analysis.metrics import Measure, Metric
from pipeline.reporting.analysis.ranking import mean_ranking
from pipeline.reporting.analysis.texts import counted
from pipeline.reporting.plots.figures import Panel, Plot, small_multiples
from pipeline.reporting.plots.intervals import Estimate, interval_plot
from pipeline.reporting.plots.looks import (
    BETTER,
    GREY,
    INK,
    PAGE,
    SMALL,
    WORSE,
    shortened,
    styles_of,
    text_width,
)

FEWEST = 3  # methods, of whose differences a matrix shows more than a sentence
PANELS, OF_MANY = 6, 2  # pairs, and where there are more methods than a page's half can hold
HALF = 12
CELL = (0.13, 0.22)  # inches: lowest and highest
NAME = 1.0  # inches, at most
TINT = 0.45  # opacity of a significant difference
RANK = Measure("", Metric("rank", "Mean rank", "1 is the best", False, 2))
Matrix = Mapping[tuple[str, str], Difference]  # by the methods of row and column


def pairwise_plot(comparisons: Comparisons) -> Plot | None:
    """Each method minus each other one on the first primary measure; None for few or very many."""
    results = comparisons.results
    measure = next(iter(results.primary_measures), None)
    if measure is None:
        return None
    matrices: dict[str, Matrix] = {}
    for pair in results.pairs:
        differences = comparisons.differences.get((pair, measure), ())
        if len(differences) >= FEWEST:
            both = (*differences, *(difference.swapped() for difference in differences))
            matrices[results.title(pair)] = {
                (each.first.method, each.second.method): each for each in both
            }
    most = PANELS if len(results.method_names) <= HALF else OF_MANY
    shown = dict(list(matrices.items())[:most])
    named = {method for matrix in shown.values() for method, _ in matrix}
    methods = [method for method in results.method_names if method in named]
    every = [difference for matrix in shown.values() for difference in matrix.values()]
    empty = len(methods) > HALF and not any(each.significantly_different for each in every)
    if not matrices or empty or (narrowest := _left(methods) + CELL[0] * len(methods)) > PAGE:
        return None
    total = len(matrices)
    more = f"The first {len(shown)} of {total} pairs; the table has all." * (len(shown) < total)
    return Plot(
        "pairwise",
        "Pairwise differences",
        f"The row's method minus the column's in {measure.metric.title} ({measure.detail}), paired "
        "over seeds and items. Coloured: significant after Holm over all comparisons of the "
        f"measure. {more}".strip(),
        lambda width: _matrices(width, shown, methods),
        narrowest,
    )


def _left(methods: Sequence[str]) -> float:
    """Inches that the names of rows take."""
    return max(text_width(shortened(method, NAME)) for method in methods) + 0.12


def _matrices(width: float, matrices: Mapping[str, Matrix], methods: Sequence[str]) -> Figure:
    names, left = [shortened(method, NAME) for method in methods], _left(methods)
    texts = [_in_cell(each) for matrix in matrices.values() for each in matrix.values()]
    is_small, count = len(names) <= HALF, len(names)
    cell = max(map(text_width, texts)) + 0.08 if is_small else CELL[0]
    narrowest = min(width, left + max(cell * count, width / 2.2 - left))
    legend = [
        Patch(color=colour, alpha=TINT, label=f"row is significantly {word}")
        for colour, word in ((BETTER, "better"), (WORSE, "worse"))
    ]
    titles = {title: title for title in matrices}
    height = left + count * (CELL[1] if is_small else CELL[0])
    figure, panels = small_multiples({"": ""}, titles, (width, height), legend, narrowest)
    across = width / min(len(panels), max(1, int(width / narrowest)))
    for panel in panels:
        axes = panel.axes
        _draw_matrix(axes, matrices[panel.column], methods, (across - left - 0.15) / count)
        axes.set_yticks(range(count), names)
        axes.set_xticks(range(count), names, rotation=90)
        axes.set_xlim(-0.5, count - 0.5)
        axes.set_ylim(count - 0.5, -0.5)
        axes.tick_params(length=0)
        axes.grid(visible=False)
    return figure


def _draw_matrix(axes: Axes, matrix: Matrix, methods: Sequence[str], cell: float) -> None:
    texts = {key: _in_cell(difference) for key, difference in matrix.items()}
    fits = max(map(text_width, texts.values())) < cell - 0.03
    for (row, column), difference in matrix.items():
        x, y = methods.index(column), methods.index(row)
        if difference.significantly_different:
            colour = WORSE if difference.first_is_worse else BETTER
            box = Rectangle((x - 0.5, y - 0.5), 1, 1, color=colour, alpha=TINT, linewidth=0)
            axes.add_patch(box)
        if fits:
            axes.text(x, y, texts[row, column], ha="center", va="center", fontsize=SMALL)
    for place in range(len(methods)):
        axes.plot(place, place, marker=".", markersize=2, color=GREY)


def _in_cell(difference: Difference) -> str:
    """The difference in few letters: −.123."""
    text = difference.measure.format(difference.value)
    return text.replace("0.", ".", 1).replace("-", "−") if abs(difference.value) < 1 else text


def rank_plot(comparisons: Comparisons) -> Plot | None:
    """Each method's mean rank over pairs and tasks; None for a single ranking."""
    ranks = mean_ranking(comparisons)
    if ranks is None:
        return None
    estimates = [
        Estimate("", RANK, method, "", float(rank), float(best), float(worst))
        for method, rank, best, worst in zip(
            ranks.methods, ranks.ranks, ranks.best, ranks.worst, strict=True
        )
    ]
    tasks = ", ".join(f"{measure.task} by {measure.metric.title}" for measure in ranks.measures)
    caption = (
        f"Mean ranks over {counted(ranks.pairs, 'pair')} of teacher and student and "
        f"{counted(len(ranks.measures), 'task')} ({tasks}). Bars: the ranks that the paired tests "
        "don't rule out, at 95 % for each task."
    )
    if ranks.critical_difference:
        caption += (
            " A vertical line joins methods whose mean ranks differ by less than Nemenyi's "
            f"critical difference over tasks, {ranks.critical_difference:.2f}."
        )

    def join_ties(panel: Panel[str, Measure]) -> None:
        """Draws a vertical line beside methods whose mean ranks don't differ."""
        for number, (first, last) in enumerate(ranks.ties):
            panel.axes.plot(
                [0.99 - 0.02 * number] * 2,
                [first - 0.2, last + 0.2],
                color=INK,
                linewidth=2,
                transform=panel.axes.get_yaxis_transform(),
            )

    styles = styles_of(comparisons.results)
    about = ("ranks", "Mean rank", caption)
    return interval_plot(*about, estimates, styles, ranks.methods, decorate=join_ties)
