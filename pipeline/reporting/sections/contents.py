"""What a report shows, section by section: tables and plots before they are written."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.scores import Results
from pipeline.reporting.costs.books import keep_books
from pipeline.reporting.render import formats, table
from pipeline.reporting.render.plot_style import Plot
from pipeline.reporting.render.table import Table
from pipeline.reporting.sections import (
    costs,
    difference_tables,
    gap_closed,
    score_plots,
    slices,
    teacher_size,
    teacher_size_plot,
    training_curves,
)
from pipeline.reporting.sections.published import published_table
from pipeline.settings.report import ReportSettings

PANELS = 48  # of a figure, about
Shown = TypeVar("Shown", Table, Plot)


@dataclass(frozen=True)
class Draft:
    """A section of the report."""

    name: str
    title: str
    tables: Sequence[Table]
    plots: Iterable[Plot]  # each made when it is asked for: it may be printed while others are made
    folded: Sequence[Table] = ()  # in the page they are opened first
    lead: str = ""


def drafts(
    settings: ReportSettings,
    inputs: ReportInputs,
    results: Results,
    comparisons: Comparisons,
    sizes: Mapping[str, int],
) -> Iterator[Draft]:
    """Every section, the main table first; empty where the experiment has nothing for it."""
    some = _drawn(results, PANELS)
    yield _scores(results, some, comparisons, sizes)
    yield Draft(
        "comparisons",
        "Comparisons",
        (),
        comparison_plots(comparisons, some, sizes),
        folded=comparison_tables(comparisons, results, sizes),
    )
    yield Draft(
        "parts",
        "Parts of tasks",
        (),
        _given([slices.scores_by_part(some, sizes)]),
        folded=_given([slices.slice_table(results, sizes)]),
    )
    yield _cost(inputs, results, sizes)
    yield Draft("published", "Published", _given([published_table(settings, results)]), ())
    yield _training(inputs, some, sizes)


def _drawn(results: Results, panels: int) -> Results:
    """What plots have room for: the first pairs, so many that a figure has about `panels`."""
    pairs = results.pairs[: max(1, panels // max(1, len(results.ranked_measures)))]
    return replace(
        results,
        pairs=pairs,
        references={pair: results.references[pair] for pair in pairs},
        methods={pair: results.methods[pair] for pair in pairs},
    )


def _left_out(some: Results, results: Results) -> str:
    shown, all_pairs = len(some.pairs), len(results.pairs)
    if shown == all_pairs:
        return ""
    return f"Plots show the first {shown} of {all_pairs} pairs of teacher and student, tables all."


def _scores(
    results: Results, some: Results, comparisons: Comparisons, sizes: Mapping[str, int]
) -> Draft:
    draws = (
        (score_plots.scores_by_method, teacher_size_plot.scores_by_teacher_size)
        if some.ranked_measures
        else ()
    )
    figures = (plot for draw in draws if (plot := draw(some, sizes)))
    main = table.main_table(results, sizes, comparisons)
    main = replace(main, csv=formats.main_csv(results, comparisons))
    return Draft("scores", "Scores", [main], figures, lead=_left_out(some, results))


def comparison_tables(
    comparisons: Comparisons, results: Results, sizes: Mapping[str, int]
) -> list[Table]:
    """Differences, what could be resolved, and where there is any: gap closed, teacher sizes."""
    tables = (
        difference_tables.differences_table(comparisons, results, sizes),
        difference_tables.resolution_table(comparisons, results, sizes),
        gap_closed.share_table(comparisons, results, sizes),
        teacher_size.step_table(comparisons, results, sizes),
    )
    return [table for table in tables if table]


def comparison_plots(
    comparisons: Comparisons, results: Results, sizes: Mapping[str, int]
) -> list[Plot]:
    """Intervals by method, share of the gap closed, teacher sizes: where there is any."""
    plots = (
        gap_closed.share_plot(comparisons, results, sizes),
        teacher_size.step_plot(comparisons, results, sizes),
    )
    return [plot for plot in plots if plot]


def _cost(inputs: ReportInputs, results: Results, sizes: Mapping[str, int]) -> Draft:
    some = _drawn(results, PANELS // 2)  # a panel for each of two ways of charging
    books = keep_books(inputs, results, sizes)
    first, *others = costs.cost_tables(books)
    figures = costs.cost_plots(replace(books, results=some))
    return Draft("cost", "Cost", [first], figures, folded=others, lead=_left_out(some, results))


def _training(inputs: ReportInputs, some: Results, sizes: Mapping[str, int]) -> Draft:
    draws = (training_curves.validation_curves, training_curves.loss_curves)
    figures = (plot for draw in draws if (plot := draw(inputs, some, sizes)))
    return Draft("training", "Training", (), figures)


def _given(found: Iterable[Shown | None]) -> list[Shown]:
    return [one for one in found if one is not None]
