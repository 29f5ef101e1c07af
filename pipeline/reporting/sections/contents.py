"""The sections of the report: their tables and figures before they are written."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.searches import how_chosen, searches
from pipeline.reporting.costs.attribution import IN_FULL, CostData
from pipeline.reporting.costs.crossovers import crossover_table
from pipeline.reporting.costs.equal_budget import equal_cost_table, equal_steps_table
from pipeline.reporting.costs.quality_vs_cost import FLOPS, SECONDS
from pipeline.reporting.costs.tables import cost_table, shared_cost_table, token_table
from pipeline.reporting.plots import differences, overall, scores, training
from pipeline.reporting.plots.costs import cost_choices, nll_by_cost, quality_by_cost
from pipeline.reporting.plots.figures import Plot
from pipeline.reporting.render.table import Table
from pipeline.reporting.sections import difference_tables
from pipeline.reporting.sections.alignments import alignments_table, span_lengths_table
from pipeline.reporting.sections.gap_closed import gap_closed_table
from pipeline.reporting.sections.judges import judges_table
from pipeline.reporting.sections.published import published_table
from pipeline.reporting.sections.score_tables import main_table, missing_table, slice_table
from pipeline.reporting.sections.training import kept_weights_table, tuning_table
from pipeline.settings.report import ReportSettings

LINES = 100  # of methods in a column of panels, about


@dataclass(frozen=True)
class Section:
    """A section of the report; without tables and plots it has no place in the page."""

    name: str
    title: str
    about: str = ""  # what is to be seen in it
    tables: Sequence[Table] = ()
    draw: Sequence[Callable[[], Plot | None]] = ()  # its plots; None for one that there is not
    folded: Mapping[str, Table] = field(default_factory=dict)  # by title: shown on demand
    note: str = ""
    choices: Mapping[str, object] | None = None  # what a script of the page draws

    @property
    def plots(self) -> Iterator[Plot]:
        """The plots, drawn one by one: one may be written before the next is drawn."""
        return filter(None, (draw() for draw in self.draw))


def _some(*tables: Table | None) -> list[Table]:
    """Those of the tables that there are."""
    return [table for table in tables if table]


def _titled(tables: Mapping[str, Table | None]) -> dict[str, Table]:
    """The same by their titles."""
    return {title: table for title, table in tables.items() if table}


def sections(
    settings: ReportSettings, comparisons: Comparisons, costs: CostData
) -> Iterator[Section]:
    """Every section, the main result first."""
    few = _first_pairs(comparisons, training.PANELS)
    yield from _score_sections(settings, comparisons, few)
    yield from _comparison_sections(comparisons, few)
    yield cost_section(comparisons, costs)
    yield from _training_sections(settings, costs.inputs, comparisons, few)


def _score_sections(
    settings: ReportSettings, comparisons: Comparisons, few: Comparisons
) -> Iterator[Section]:
    """The main result, what is missing of it, all scores, and what judges say."""
    overview = [lambda: differences.overview_plot(comparisons)]
    yield Section("result", "Main result", draw=overview)
    about = "cells of the grid without a score, and why"
    yield Section("missing", "Missing cells", about, _some(missing_table(settings)))
    yield Section(
        "scores",
        "Scores",
        "every method on every measure, beside its teacher and the student before training",
        [main_table(comparisons)],
        [lambda: scores.scores_by_method(few), lambda: scores.scores_by_teacher_size(comparisons)],
        note=_left_out(few, comparisons),
    )
    yield Section(
        "judges",
        "Judges",
        "what judges prefer, and how far each can be trusted",
        _some(judges_table(settings, comparisons)),
        note="Samples show each verdict beside its response; verdicts-JUDGE.parquet in the folder "
        "of an evaluation has all answers of a judge.",
    )


def _comparison_sections(comparisons: Comparisons, few: Comparisons) -> Iterator[Section]:
    """Contrasts, and differences between methods on whole tasks and on parts of them."""
    about = "the questions that the configuration asks of the scores"
    tables = _some(difference_tables.contrast_table(comparisons))
    yield Section("contrasts", "Contrasts", about, tables)
    yield Section(
        "comparisons",
        "Comparisons",
        "which methods differ, how near each comes to its teacher, and what a larger one changes",
        draw=[
            lambda: overall.rank_plot(comparisons),
            lambda: overall.pairwise_plot(comparisons),
            lambda: differences.gap_closed_plot(few),
            lambda: differences.teacher_size_plot(comparisons),
        ],
        folded=comparison_tables(comparisons),
    )
    yield Section(
        "parts",
        "Parts of tasks",
        "whether a gain holds on every part of a task",
        draw=[lambda: differences.scores_by_part(few)],
        folded=_titled({"Scores on parts of tasks": slice_table(comparisons)}),
    )


def _training_sections(
    settings: ReportSettings, inputs: ReportInputs, comparisons: Comparisons, few: Comparisons
) -> Iterator[Section]:
    """How settings were chosen, what was published of the same models, and how training went."""
    results = comparisons.results
    of_report = searches(inputs, results)
    yield Section(
        "tuning",
        "Search for settings",
        "what was tried for each method, what was chosen, and how much it matters",
        _some(tuning_table(inputs, of_report, results)),
        [lambda: training.sensitivity_plot(of_report, few.results)],
        note=how_chosen(of_report),
    )
    about = "what their texts and vocabularies share with the students'"
    tables = _some(alignments_table(inputs.alignments), span_lengths_table(inputs.alignments))
    yield Section("alignments", "Teachers of another vocabulary", about, tables)
    about = "these scores beside published ones of the same models"
    yield Section("published", "Published", about, _some(published_table(settings, results)))
    yield Section(
        "training",
        "Training",
        "how held-out NLL and each method's loss fell, step by step",
        draw=[
            lambda: training.validation_curves(inputs, few.results),
            lambda: training.loss_curves(inputs, few.results),
        ],
        folded=_titled({"Kept weights": kept_weights_table(inputs, results)}),
    )


def comparison_tables(comparisons: Comparisons) -> dict[str, Table]:
    """Differences and detectable ones, gaps closed and effects of teacher size, where any are."""
    return _titled(
        {
            "Differences between methods": difference_tables.differences_table(comparisons),
            "Smallest detectable differences": difference_tables.detectable_table(comparisons),
            "Share of the gap closed": gap_closed_table(comparisons),
            "Effect of a larger teacher": difference_tables.teacher_size_table(comparisons),
            "Other tasks before and after training": difference_tables.retention_table(comparisons),
        }
    )


def cost_section(comparisons: Comparisons, data: CostData) -> Section:
    """Tables of cost, and figures of quality against cost."""
    few = _first_pairs(comparisons, training.PANELS // 2)  # a panel for each of two accountings
    return Section(
        "cost",
        "Cost",
        "what each method costs, and which one is best for its cost",
        [cost_table(data)],
        [
            lambda: quality_by_cost(data, few),
            lambda: nll_by_cost(data, few.results),
            lambda: nll_by_cost(data, few.results, IN_FULL),
        ],
        _titled(
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


def _first_pairs(comparisons: Comparisons, panels: int) -> Comparisons:
    """The first pairs, as many as fill about `panels` panels of a figure."""
    results = comparisons.results
    of_panels = panels // max(1, len(results.ranked_measures))
    pairs = results.pairs[: max(1, min(of_panels, LINES // len(results.method_names)))]
    references, methods = (
        {pair: rows[pair] for pair in pairs} for rows in (results.references, results.methods)
    )
    few = replace(results, pairs=pairs, references=references, methods=methods)
    return replace(comparisons, results=few)


def _left_out(shown: Comparisons, every: Comparisons) -> str:
    count, total = len(shown.results.pairs), len(every.results.pairs)
    if count == total:
        return ""
    return f"Figures show the first {count} of {total} pairs of teacher and student, tables all."
