"""Figures of all methods against each other: a matrix of differences, and mean ranks."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from pipeline.reporting.analysis.findings import Comparisons, Difference
from pipeline.reporting.analysis.metrics import Measure, Metric
from pipeline.reporting.analysis.ranking import Ranking, ranking
from pipeline.reporting.analysis.texts import counted
from pipeline.reporting.plots.figures import Panel, Plot, small_multiples
from pipeline.reporting.plots.intervals import Estimate, Layout, interval_plot
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
Matrix = Mapping[tuple[str, str], Difference]  # by the labels of row and column


def pairwise_plot(comparisons: Comparisons) -> Plot | None:
    """Each method minus each other one on the first primary measure; None for few or very many."""
    results = comparisons.results
    measure = next(iter(results.primary_measures), None)
    compared = {
        results.title(pair): comparisons.differences.get((pair, measure), ())
        for pair in results.pairs
        if measure
    }
    matrices = {title: _matrix(found) for title, found in compared.items() if len(found) >= FEWEST}
    if measure is None or not matrices:
        return None
    most = PANELS if len(results.labels) <= HALF else OF_MANY
    shown = dict(list(matrices.items())[:most])
    named = {label for matrix in shown.values() for label, _ in matrix}
    labels = [label for label in results.labels if label in named]
    narrowest = _left(labels) + CELL[0] * len(labels)
    found = [one for matrix in shown.values() for one in matrix.values()]
    empty = len(labels) > HALF and not any(one.significantly_different for one in found)
    if narrowest > PAGE or empty:
        return None
    return Plot(
        "pairwise",
        "Pairwise differences",
        f"The row's method minus the column's in {measure.metric.title} ({measure.detail}), paired "
        "over seeds and items. Coloured: significant after Holm over all comparisons of the "
        f"measure. {_of_pairs(len(shown), len(matrices))}".strip(),
        lambda width: _matrices(width, shown, labels),
        narrowest,
    )


def _of_pairs(shown: int, total: int) -> str:
    return f"The first {shown} of {total} pairs; the table has all." if shown < total else ""


def _left(labels: Sequence[str]) -> float:
    """Inches that the names of rows take."""
    return max(text_width(shortened(label, NAME)) for label in labels) + 0.12


def _matrix(differences: Sequence[Difference]) -> Matrix:
    both = [*differences, *(one.swapped() for one in differences)]
    return {(one.first.label, one.second.label): one for one in both}


def _matrices(width: float, matrices: Mapping[str, Matrix], labels: Sequence[str]) -> Figure:
    names, left = [shortened(label, NAME) for label in labels], _left(labels)
    texts = [_in_cell(one) for matrix in matrices.values() for one in matrix.values()]
    cell = max(map(text_width, texts)) + 0.08 if len(names) <= HALF else CELL[0]
    side = max(cell * len(names), width / 2.2 - left)
    narrowest = min(width, left + side)
    legend = [
        Patch(color=colour, alpha=TINT, label=f"row is significantly {word}")
        for colour, word in ((BETTER, "better"), (WORSE, "worse"))
    ]
    titles = {title: title for title in matrices}
    height = CELL[1] * len(names) if len(names) <= HALF else CELL[0] * len(names)
    figure, panels = small_multiples({"": ""}, titles, (width, height + left), legend, narrowest)
    across = width / min(len(panels), max(1, int(width / narrowest)))
    for panel in panels:
        _draw_matrix(panel, matrices[panel.column], labels, (across - left - 0.15) / len(names))
        axes = panel.axes
        axes.set_yticks(range(len(names)), names)
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.tick_params(length=0)
        axes.grid(visible=False)
    return figure


def _draw_matrix(
    panel: Panel[str, str], matrix: Matrix, labels: Sequence[str], cell: float
) -> None:
    places = {label: place for place, label in enumerate(labels)}
    texts = {key: _in_cell(one) for key, one in matrix.items()}
    fits = max(map(text_width, texts.values())) < cell - 0.03
    for (row, column), one in matrix.items():
        x, y = places[column], places[row]
        if one.significantly_different:
            colour = WORSE if one.first_is_worse else BETTER
            box = Rectangle((x - 0.5, y - 0.5), 1, 1, color=colour, alpha=TINT, linewidth=0)
            panel.axes.add_patch(box)
        if fits:
            panel.axes.text(x, y, texts[row, column], ha="center", va="center", fontsize=SMALL)
    for place in range(len(labels)):
        panel.axes.plot(place, place, marker=".", markersize=2, color=GREY)


def _in_cell(one: Difference) -> str:
    """The difference in few letters: −.123."""
    text = one.measure.format(one.value)
    return text.replace("0.", ".", 1).replace("-", "−") if abs(one.value) < 1 else text


def rank_plot(comparisons: Comparisons) -> Plot | None:
    """Each method's mean rank over pairs and tasks; None for a single ranking."""
    found = ranking(comparisons)
    if found is None:
        return None
    estimates = [
        Estimate("", RANK, label, "", float(rank), float(best), float(worst))
        for label, rank, best, worst in zip(
            found.labels, found.ranks, found.best, found.worst, strict=True
        )
    ]
    tasks = ", ".join(f"{measure.task} by {measure.metric.title}" for measure in found.measures)
    caption = (
        f"Mean ranks over {counted(found.pairs, 'pair')} of teacher and student and "
        f"{counted(len(found.measures), 'task')} ({tasks}). Bars: the ranks that the paired tests "
        "don't rule out, at 95 % for each task."
    )
    if found.critical_difference:
        caption += (
            " A vertical line joins methods whose mean ranks differ by less than Nemenyi's "
            f"critical difference over tasks, {found.critical_difference:.2f}."
        )
    layout = Layout(
        styles_of(comparisons.results),
        found.labels,
        decorate=lambda panel: _join_ties(panel.axes, found),
    )
    return interval_plot("ranks", "Mean rank", caption, estimates, layout)


def _join_ties(axes: Axes, found: Ranking) -> None:
    for number, (first, last) in enumerate(found.ties):
        axes.plot(
            [0.99 - 0.02 * number] * 2,
            [first - 0.2, last + 0.2],
            color=INK,
            linewidth=2,
            transform=axes.get_yaxis_transform(),
        )
