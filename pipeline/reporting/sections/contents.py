"""The sections of the report: their tables and figures before they are written."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.scores import Results
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
from pipeline.reporting.sections import difference_tables, gap_closed, retention, teacher_size
from pipeline.reporting.sections.alignments import alignment_tables
from pipeline.reporting.sections.contrasts import contrast_table
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
    tables: Sequence[Table] = ()
    plots: Iterable[Plot] = ()  # drawn one by one: one may be written while others are drawn
    folded: Mapping[str, Table] = field(default_factory=dict)  # by title: shown on demand
    about: str = ""  # what is to be seen in it
    note: str = ""
    choices: Mapping[str, object] | None = None  # what a script of the page draws


def sections(
    settings: ReportSettings,
    inputs: ReportInputs,
    results: Results,
    comparisons: Comparisons,
    sizes: Mapping[str, int],
) -> Iterator[Section]:
    """Every section, the main result first."""
    few = _first_pairs(results, PANELS)
    yield from _score_sections(settings, results, few, comparisons, sizes)
    yield from _comparison_sections(results, few, comparisons, sizes)
    yield cost_section(inputs, results, sizes, comparisons)
    yield from _training_sections(settings, inputs, results, few, sizes)


def _score_sections(
    settings: ReportSettings,
    results: Results,
    few: Results,
    comparisons: Comparisons,
    sizes: Mapping[str, int],
) -> Iterator[Section]:
    """The main result, what is missing of it, and all scores."""
    yield Section(
        "result",
        "Main result",
        (),
        _plots(lambda: differences.overview_plot(comparisons, results, sizes)),
    )
    missing = missing_table(settings)
    yield Section(
        "missing",
        "Missing cells",
        [missing] if missing else (),
        about="cells of the grid without a score, and why",
    )
    yield Section(
        "scores",
        "Scores",
        [main_table(results, sizes, comparisons)],
        _plots(
            lambda: scores.scores_by_method(few, sizes, comparisons),
            lambda: scores.scores_by_teacher_size(results, sizes, comparisons),
        ),
        about="every method on every measure, beside its teacher and the student before training",
        note=_left_out(few, results),
    )


def _comparison_sections(
    results: Results, few: Results, comparisons: Comparisons, sizes: Mapping[str, int]
) -> Iterator[Section]:
    """Contrasts, and differences between methods on whole tasks and on parts of them."""
    contrasts = contrast_table(comparisons)
    yield Section(
        "contrasts",
        "Contrasts",
        [contrasts] if contrasts else (),
        about="the questions that the configuration asks of the scores",
    )
    yield Section(
        "comparisons",
        "Comparisons",
        (),
        _plots(
            lambda: overall.rank_plot(comparisons, results),
            lambda: overall.pairwise_plot(comparisons, results, sizes),
            lambda: differences.gap_closed_plot(comparisons, few, sizes),
            lambda: differences.teacher_size_plot(comparisons, results, sizes),
        ),
        comparison_tables(comparisons, results, sizes),
        "which methods differ, how near each comes to its teacher, and what a larger one changes",
    )
    yield Section(
        "parts",
        "Parts of tasks",
        (),
        _plots(lambda: differences.scores_by_part(comparisons, few, sizes)),
        _known({"Scores on parts of tasks": slice_table(results, sizes, comparisons)}),
        "whether a gain holds on every part of a task",
    )


def _training_sections(
    settings: ReportSettings,
    inputs: ReportInputs,
    results: Results,
    few: Results,
    sizes: Mapping[str, int],
) -> Iterator[Section]:
    """How settings were chosen, what was published of the same models, and how training went."""
    found = searches(inputs, results)
    chosen = tuning_table(inputs, found, sizes)
    yield Section(
        "tuning",
        "Search for settings",
        [chosen] if chosen else (),
        _plots(lambda: sensitivity_plot(found, few, sizes)),
        about="what was tried for each method, what was chosen, and how much it matters",
        note=how_chosen(found),
    )
    yield Section(
        "alignments",
        "Teachers of another vocabulary",
        alignment_tables(inputs.alignments),
        about="what their texts and vocabularies share with the students'",
    )
    published = published_table(settings, results)
    yield Section(
        "published",
        "Published",
        [published] if published else (),
        about="these scores beside published ones of the same models",
    )
    yield Section(
        "training",
        "Training",
        (),
        _plots(
            lambda: training.validation_curves(inputs, few, sizes),
            lambda: training.loss_curves(inputs, few, sizes),
        ),
        _known({"Kept weights": kept_weights_table(inputs, results, sizes)}),
        "how held-out NLL and each method's loss fell, step by step",
    )


def comparison_tables(
    comparisons: Comparisons, results: Results, sizes: Mapping[str, int]
) -> dict[str, Table]:
    """Differences and detectable ones, gaps closed and effects of teacher size, where any are."""
    given = comparisons, results, sizes
    return _known(
        {
            "Differences between methods": difference_tables.differences_table(*given),
            "Smallest detectable differences": difference_tables.detectable_table(*given),
            "Share of the gap closed": gap_closed.gap_closed_table(*given),
            "Effect of a larger teacher": teacher_size.teacher_size_table(*given),
            "Other tasks before and after training": retention.retention_table(*given),
        }
    )


def cost_section(
    inputs: ReportInputs, results: Results, sizes: Mapping[str, int], comparisons: Comparisons
) -> Section:
    """Tables of cost, and figures of quality against cost."""
    few = _first_pairs(results, PANELS // 2)  # a panel for each of two accountings
    data = collect_costs(inputs, results, sizes)
    return Section(
        "cost",
        "Cost",
        [cost_table(data)],
        _plots(
            lambda: quality_by_cost(data, few, comparisons),
            lambda: nll_by_cost(data, few),
            lambda: nll_by_cost(data, few, IN_FULL),
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
        "what each method costs, and which one is best for its cost",
        _left_out(few, results),
        cost_choices(data, results, comparisons),
    )


def _plots(*draws: Callable[[], Plot | None]) -> Iterator[Plot]:
    return (plot for draw in draws if (plot := draw()))


def _known(tables: Mapping[str, Table | None]) -> dict[str, Table]:
    return {title: table for title, table in tables.items() if table}


def _first_pairs(results: Results, panels: int) -> Results:
    """The first pairs, as many as fill about `panels` panels of a figure."""
    of_panels = panels // max(1, len(results.ranked_measures))
    pairs = results.pairs[: max(1, min(of_panels, LINES // len(results.labels)))]
    return replace(
        results,
        pairs=pairs,
        references={pair: results.references[pair] for pair in pairs},
        methods={pair: results.methods[pair] for pair in pairs},
    )


def _left_out(shown: Results, results: Results) -> str:
    count, total = len(shown.pairs), len(results.pairs)
    if count == total:
        return ""
    return f"Figures show the first {count} of {total} pairs of teacher and student, tables all."
