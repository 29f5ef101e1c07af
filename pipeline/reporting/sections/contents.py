"""The sections of the report: their tables and figures before they are written."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.searches import how_chosen, searches
from pipeline.reporting.costs.attribution import IN_FULL, collect_costs
from pipeline.reporting.costs.crossovers import crossover_table
from pipeline.reporting.costs.equal_budget import equal_cost_table, equal_steps_table
from pipeline.reporting.costs.quality_vs_cost import FLOPS, SECONDS
from pipeline.reporting.costs.tables import cost_table, shared_cost_table, token_table
from pipeline.reporting.plots import differences, overall, scores, training
from pipeline.reporting.plots.costs import cost_choices, nll_by_cost, quality_by_cost
from pipeline.reporting.plots.figures import Plot
from pipeline.reporting.plots.tuning import sensitivity_plot
from pipeline.reporting.render.table import Table
from pipeline.reporting.sections import difference_tables
from pipeline.reporting.sections.alignments import alignments_table, span_lengths_table
from pipeline.reporting.sections.gap_closed import gap_closed_table
from pipeline.reporting.sections.judges import judges_table
from pipeline.reporting.sections.kept_weights import kept_weights_table
from pipeline.reporting.sections.missing import missing_table
from pipeline.reporting.sections.published import published_table
from pipeline.reporting.sections.score_tables import main_table, slice_table
from pipeline.reporting.sections.tuning import tuning_table
from pipeline.settings.report import ReportSettings

PANELS = 48  # of a figure, about
LINES = 100  # of methods in a column of panels, about


@dataclass(frozen=True)
class Section:
    """A section of the report; without tables and plots it has no place in the page."""

    name: str
    title: str
    about: str = ""  # what is to be seen in it
    tables: Sequence[Table] = ()
    plots: Iterable[Plot] = ()  # drawn one by one: one may be written while others are drawn
    folded: Mapping[str, Table] = field(default_factory=dict)  # by title: shown on demand
    note: str = ""
    choices: Mapping[str, object] | None = None  # what a script of the page draws


def sections(
    settings: ReportSettings, inputs: ReportInputs, comparisons: Comparisons
) -> Iterator[Section]:
    """Every section, the main result first."""
    few = _first_pairs(comparisons, PANELS)
    yield from _score_sections(settings, comparisons, few)
    yield from _comparison_sections(comparisons, few)
    yield cost_section(inputs, comparisons)
    yield from _training_sections(settings, inputs, comparisons, few)


def _score_sections(
    settings: ReportSettings, comparisons: Comparisons, few: Comparisons
) -> Iterator[Section]:
    """The main result, what is missing of it, all scores, and what judges say."""
    yield Section(
        "result", "Main result", plots=_plots(lambda: differences.overview_plot(comparisons))
    )
    yield Section(
        "missing",
        "Missing cells",
        "cells of the grid without a score, and why",
        _tables(missing_table(settings)),
    )
    yield Section(
        "scores",
        "Scores",
        "every method on every measure, beside its teacher and the student before training",
        [main_table(comparisons)],
        _plots(
            lambda: scores.scores_by_method(few), lambda: scores.scores_by_teacher_size(comparisons)
        ),
        note=_left_out(few, comparisons),
    )
    yield Section(
        "judges",
        "Judges",
        "what judges prefer, and how far each can be trusted",
        _tables(judges_table(settings, comparisons)),
        note="Samples show each verdict beside its response; verdicts-JUDGE.parquet in the folder "
        "of an evaluation has all answers of a judge.",
    )


def _comparison_sections(comparisons: Comparisons, few: Comparisons) -> Iterator[Section]:
    """Contrasts, and differences between methods on whole tasks and on parts of them."""
    yield Section(
        "contrasts",
        "Contrasts",
        "the questions that the configuration asks of the scores",
        _tables(difference_tables.contrast_table(comparisons)),
    )
    yield Section(
        "comparisons",
        "Comparisons",
        "which methods differ, how near each comes to its teacher, and what a larger one changes",
        (),
        _plots(
            lambda: overall.rank_plot(comparisons),
            lambda: overall.pairwise_plot(comparisons),
            lambda: differences.gap_closed_plot(few),
            lambda: differences.teacher_size_plot(comparisons),
        ),
        comparison_tables(comparisons),
    )
    yield Section(
        "parts",
        "Parts of tasks",
        "whether a gain holds on every part of a task",
        (),
        _plots(lambda: differences.scores_by_part(few)),
        _known({"Scores on parts of tasks": slice_table(comparisons)}),
    )


def _training_sections(
    settings: ReportSettings, inputs: ReportInputs, comparisons: Comparisons, few: Comparisons
) -> Iterator[Section]:
    """How settings were chosen, what was published of the same models, and how training went."""
    results, found = comparisons.results, searches(inputs, comparisons.results)
    yield Section(
        "tuning",
        "Search for settings",
        "what was tried for each method, what was chosen, and how much it matters",
        _tables(tuning_table(inputs, found, results)),
        _plots(lambda: sensitivity_plot(found, few.results)),
        note=how_chosen(found),
    )
    yield Section(
        "alignments",
        "Teachers of another vocabulary",
        "what their texts and vocabularies share with the students'",
        _tables(alignments_table(inputs.alignments), span_lengths_table(inputs.alignments)),
    )
    yield Section(
        "published",
        "Published",
        "these scores beside published ones of the same models",
        _tables(published_table(settings, results)),
    )
    yield Section(
        "training",
        "Training",
        "how held-out NLL and each method's loss fell, step by step",
        (),
        _plots(
            lambda: training.validation_curves(inputs, few.results),
            lambda: training.loss_curves(inputs, few.results),
        ),
        _known({"Kept weights": kept_weights_table(inputs, results)}),
    )


def comparison_tables(comparisons: Comparisons) -> dict[str, Table]:
    """Differences and detectable ones, gaps closed and effects of teacher size, where any are."""
    return _known(
        {
            "Differences between methods": difference_tables.differences_table(comparisons),
            "Smallest detectable differences": difference_tables.detectable_table(comparisons),
            "Share of the gap closed": gap_closed_table(comparisons),
            "Effect of a larger teacher": difference_tables.teacher_size_table(comparisons),
            "Other tasks before and after training": difference_tables.retention_table(comparisons),
        }
    )


def cost_section(inputs: ReportInputs, comparisons: Comparisons) -> Section:
    """Tables of cost, and figures of quality against cost."""
    few = _first_pairs(comparisons, PANELS // 2)  # a panel for each of two accountings
    data = collect_costs(inputs, comparisons.results)
    return Section(
        "cost",
        "Cost",
        "what each method costs, and which one is best for its cost",
        [cost_table(data)],
        _plots(
            lambda: quality_by_cost(data, few),
            lambda: nll_by_cost(data, few.results),
            lambda: nll_by_cost(data, few.results, IN_FULL),
        ),
        _known(
            {
                "Tokens": token_table(data),
                "Shared jobs and evaluations": shared_cost_table(data),
                "NLL at equal steps": equal_steps_table(data),
                "NLL at equal time": equal_cost_table(data, SECONDS),
                "NLL at equal FLOPs": equal_cost_table(data, FLOPS),
                "Crossovers": crossover_table(data),
            }
        ),
        _left_out(few, comparisons),
        cost_choices(data, comparisons),
    )


def _plots(*draws: Callable[[], Plot | None]) -> Iterator[Plot]:
    return (plot for draw in draws if (plot := draw()))


def _tables(*tables: Table | None) -> list[Table]:
    return [table for table in tables if table]


def _known(tables: Mapping[str, Table | None]) -> dict[str, Table]:
    return {title: table for title, table in tables.items() if table}


def _first_pairs(comparisons: Comparisons, panels: int) -> Comparisons:
    """The first pairs, as many as fill about `panels` panels of a figure."""
    results = comparisons.results
    of_panels = panels // max(1, len(results.ranked_measures))
    pairs = results.pairs[: max(1, min(of_panels, LINES // len(results.labels)))]
    few = {
        name: {pair: getattr(results, name)[pair] for pair in pairs}
        for name in ("references", "methods")
    }
    return replace(comparisons, results=replace(results, pairs=pairs, **few))


def _left_out(shown: Comparisons, every: Comparisons) -> str:
    count, total = len(shown.results.pairs), len(every.results.pairs)
    if count == total:
        return ""
    return f"Figures show the first {count} of {total} pairs of teacher and student, tables all."
