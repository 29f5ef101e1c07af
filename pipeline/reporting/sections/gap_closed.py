"""Table and plot of the share of the gap to the teacher that each method closes."""

from collections.abc import Iterator, Mapping, Sequence

from pipeline.reporting.analysis.findings import Comparisons, GapClosed
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.reporting.render.figures import (
    INK,
    Panel,
    Plot,
    Style,
    draw_interval,
    label_lines,
    small_multiples,
    styles_of,
)
from pipeline.reporting.render.table import (
    MISSING,
    Cell,
    Heading,
    Table,
    method_cell,
    number_cell,
    pair_table,
)
from pipeline.reporting.render.units import pair_title


def gap_closed_table(
    comparisons: Comparisons, results: Results, sizes: Mapping[str, int]
) -> Table | None:
    """The shares; None where no method is plain fine-tuning, or there is no gap anywhere."""
    gaps = {(gap.row, gap.measure): gap for gap in comparisons.gaps_closed}
    if not gaps:
        return None
    measures = list(dict.fromkeys(measure for _, measure in gaps))
    headings = [
        Heading(measure.metric.title, f"{measure.task}, % (95 % interval)") for measure in measures
    ]
    base = comparisons.gap_baseline
    caption = (
        f"Share of the gap from {base} to the teacher: (method − {base}) / (teacher − {base}), "
        "paired over seeds and items, with Fieller's interval; the teacher is the one at hand, not "
        f"a random draw of teachers. {MISSING}: not measured, or the teacher is not significantly "
        "better (the interval of the gap contains zero)."
    )
    rows = {pair: _rows(results.methods[pair], measures, gaps) for pair in results.pairs}
    columns = (Heading("Method", numeric=False), Heading("Seeds"), *headings)
    return pair_table("gap_closed", caption, columns, rows, sizes)


def _rows(
    rows: Sequence[Row],
    measures: Sequence[Measure],
    gaps: Mapping[tuple[Row, Measure], GapClosed],
) -> Iterator[tuple[Cell, ...]]:
    for row in rows:
        of_row = [gaps.get((row, measure)) for measure in measures]
        if known := [gap.seed_count for gap in of_row if gap]:
            yield (method_cell(row), number_cell(max(known), str), *map(_cell, of_row))


def _cell(gap: GapClosed | None) -> Cell:
    if gap is None:
        return Cell(MISSING)
    low, high = 100 * gap.interval.low, 100 * gap.interval.high
    text = f"{100 * gap.share:.0f} ({low:.0f} to {high:.0f})"
    return Cell(text, 100 * gap.share, beside=(("low", low), ("high", high)))


def gap_closed_plot(
    comparisons: Comparisons, results: Results, sizes: Mapping[str, int]
) -> Plot | None:
    """A line for each method with its interval, a panel for each measure of each pair."""
    shares = [gap for gap in comparisons.gaps_closed if gap.pair in results.pairs]
    if not shares:
        return None
    labels = list(dict.fromkeys(share.row.label for share in shares))
    rows = {share.pair: pair_title(share.pair, sizes) for share in shares}
    columns = {share.measure: share.measure.metric.title for share in shares}
    figure, panels = small_multiples(rows, columns, 0.8 + 0.17 * len(labels))
    for panel in panels:
        here = [
            share for share in shares if (share.pair, share.measure) == (panel.row, panel.column)
        ]
        _draw_shares(panel, here, labels, styles_of(results.labels))
        panel.axes.set_xlabel(f"% of the gap, {panel.column.task}")
    return Plot(
        "gap_closed",
        "Share of the gap closed",
        f"0 % is {comparisons.gap_baseline}, 100 % the teacher. Bars are 95 % intervals over "
        "seeds and items (items alone where there is one seed); an arrow marks one that exceeds "
        "the axis. Empty: the teacher is not significantly better.",
        figure,
    )


def _draw_shares(
    panel: Panel[Pair, Measure],
    shares: Sequence[GapClosed],
    labels: Sequence[str],
    styles: Mapping[str, Style],
) -> None:
    axes = panel.axes
    values = [0.0, 100.0, *(100 * share.share for share in shares)]
    margin = 0.35 * (max(values) - min(values))
    low, high = min(values) - margin, max(values) + margin
    axes.set_xlim(low, high)
    for share in shares:
        height, colour = labels.index(share.row.label), styles[share.row.label].colour
        ends = 100 * share.interval.low, 100 * share.interval.high
        draw_interval(axes, height, 100 * share.share, ends, colour, colour)
        for exceeds, edge, arrow in ((ends[0] < low, low, "<"), (ends[1] > high, high, ">")):
            if exceeds:
                axes.plot(edge, height, marker=arrow, markersize=4, color=colour, clip_on=False)
    for end in (0, 100):
        axes.axvline(end, color=INK, linestyle="--", linewidth=0.8, zorder=1)
    label_lines(panel, labels)
