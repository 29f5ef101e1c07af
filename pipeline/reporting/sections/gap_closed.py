"""Table and plot of the share of the gap to the teacher that each method closes."""

from collections.abc import Iterator, Mapping, Sequence

from pipeline.reporting.analysis.findings import Comparisons, GapClosed
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.reporting.render.plot_style import INK, Look, Panel, Plot, looks_of, measure_panels
from pipeline.reporting.render.table import MISSING, Cell, Group, Heading, Table, named, pair_title


def share_table(
    comparisons: Comparisons, results: Results, sizes: Mapping[str, int]
) -> Table | None:
    """The shares; None where no method is plain fine-tuning, or there is no gap anywhere."""
    found = {(one.row, one.measure): one for one in comparisons.gaps_closed}
    measures = list(dict.fromkeys(one.measure for one in comparisons.gaps_closed))
    if not found:
        return None
    headings = [Heading(one.metric.title, f"{one.task}, % (95 % interval)") for one in measures]
    return Table(
        name="gap_closed",
        caption=(
            f"Share of the way from {comparisons.gap_baseline} to the teacher: (method − "
            f"{comparisons.gap_baseline}) / (teacher − {comparisons.gap_baseline}), paired "
            "over seeds and items, with Fieller's interval; the teacher is the one at hand, not a "
            f"draw of teachers. {MISSING}: not measured, or the teacher may be no better (the "
            "interval of the way holds zero)."
        ),
        group_headings=("Teacher", "Student"),
        headings=(Heading("Method", numeric=False), Heading("Seeds"), *headings),
        groups=tuple(
            Group(pair_title(pair, sizes), (pair.teacher, pair.student), (), rows)
            for pair in results.pairs
            if (rows := tuple(_share_rows(results.methods[pair], measures, found)))
        ),
    )


def _share_rows(
    rows: Sequence[Row],
    measures: Sequence[Measure],
    found: Mapping[tuple[Row, Measure], GapClosed],
) -> Iterator[tuple[Cell, ...]]:
    for row in rows:
        of_row = [found.get((row, measure)) for measure in measures]
        if known := [one for one in of_row if one]:
            seeds = max(one.seed_count for one in known)
            yield (named(row), Cell(str(seeds), seeds), *map(_share_cell, of_row))


def _share_cell(one: GapClosed | None) -> Cell:
    if one is None:
        return Cell(MISSING)
    low, high = 100 * one.interval.low, 100 * one.interval.high
    text = f"{100 * one.share:.0f} ({low:.0f} to {high:.0f})"
    return Cell(text, 100 * one.share, beside=(("low", low), ("high", high)))


def share_plot(comparisons: Comparisons, results: Results, sizes: Mapping[str, int]) -> Plot | None:
    """A line for each method with its interval, a panel for each measure of each pair."""
    found = [one for one in comparisons.gaps_closed if one.pair in results.pairs]
    pairs = list(dict.fromkeys(one.pair for one in found))
    measures = list(dict.fromkeys(one.measure for one in found))
    if not found:
        return None
    labels = list(dict.fromkeys(one.row.label for one in found))
    height = 0.8 + 0.17 * len(labels)
    figure, panels = measure_panels(pairs, measures, height, legend=0.0)
    looks = looks_of(results.labels)
    for panel in panels:
        here = [one for one in found if (one.pair, one.measure) == (panel.key, panel.measure)]
        _share_panel(panel, here, labels, looks)
        if panel.first:
            panel.axis.set_ylabel(pair_title(panel.key, sizes).replace(", ", "\n"))
    return Plot(
        "gap_closed",
        "Share of the gap closed",
        f"0 % is {comparisons.gap_baseline}, 100 % the teacher. Bars are 95 % intervals over "
        "seeds and items (items alone where there is one seed); one that ends in an arrow goes on. "
        "An empty panel: the teacher may be no better.",
        figure,
    )


def _share_panel(
    panel: Panel[Pair], found: list[GapClosed], labels: list[str], looks: Mapping[str, Look]
) -> None:
    axis = panel.axis
    low = min([0.0, *(100 * one.share for one in found)])
    high = max([100.0, *(100 * one.share for one in found)])
    margin = 0.35 * (high - low)
    axis.set_xlim(low - margin, high + margin)
    for one in found:
        height, colour = labels.index(one.row.label), looks[one.row.label].colour
        ends = [100 * one.interval.low, 100 * one.interval.high]
        axis.plot(ends, [height, height], color=colour, linewidth=1.4, alpha=0.7)
        axis.plot(100 * one.share, height, marker="o", markersize=4, color=colour)
        for end, sign, edge in ((ends[0], "<", low - margin), (ends[1], ">", high + margin)):
            if not low - margin <= end <= high + margin:
                axis.plot(edge, height, marker=sign, markersize=4, color=colour, clip_on=False)
    for place in (0, 100):
        axis.axvline(place, color=INK, linestyle="--", linewidth=0.8, zorder=0)
    axis.set_ylim(len(labels) - 0.5, -0.5)
    axis.set_yticks(range(len(labels)), labels if panel.first else [""] * len(labels))
    axis.tick_params(axis="y", length=0)
    axis.set_title(panel.measure.metric.title)
    axis.set_xlabel(f"% of the gap, {panel.measure.task}")
