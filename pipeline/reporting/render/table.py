"""The tables of the report, before any format: cells with a text, a value and a mark."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.load import JobCost
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.reporting.render import anchors

MISSING = "—"  # noted in every caption that may need it
OVER_ITEMS = "over items alone, of these checkpoints"
CUT = " (in brackets: the interval, where the scale ends before it does)"
RULE = (
    "Within one teacher and student, methods that share a letter can't be told apart (paired "
    "tests, 5 % after Holm over all comparisons of a measure); a is with the best. Intervals that "
    "overlap are no such test: methods share seeds and items."
)


@dataclass(frozen=True)
class Heading:
    """The head of a column."""

    title: str
    detail: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Cell:
    """What stands in a table: for people, and for sorting."""

    text: str
    value: float | str | None = None  # in the unit that the heading names
    spread: str = ""
    link: str = ""  # where in the page all of it is told
    letters: str = ""  # of the groups that can't be told apart
    beside: tuple[tuple[str, float], ...] = ()  # further numbers in `text` or `spread`, by name


@dataclass(frozen=True)
class Group:
    """Rows that belong together: references first, then what is compared."""

    title: str
    names: tuple[str, ...]  # what tells the group from the others
    references: tuple[tuple[Cell, ...], ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Table:
    """A table in every format that it is written in."""

    name: str
    caption: str
    group_headings: tuple[str, ...]
    headings: tuple[Heading, ...]
    groups: tuple[Group, ...]
    csv: str = ""  # its numbers, where they are not laid out as the table is

    @property
    def rows(self) -> int:
        """How many rows are compared in it."""
        return sum(len(group.rows) for group in self.groups)


def amount(number: float) -> str:
    """A count with three digits: 512, 1.50k, 124M."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.0f}"


def duration(seconds: float) -> str:
    """Seconds, with a decimal where there are few."""
    return f"{seconds:,.0f}" if seconds >= 100 else f"{seconds:.1f}"


def gibibytes(count: float | None) -> float | None:
    """Bytes in GiB, where they are known."""
    return None if count is None else count / 2**30


def sized(name: str, sizes: Mapping[str, int]) -> str:
    """A model's name with its size."""
    return f"{name} ({amount(sizes[name])})" if name in sizes else name


def pair_title(pair: Pair, sizes: Mapping[str, int]) -> str:
    """The pair in words, with its sizes."""
    named = (("Teacher", pair.teacher), ("student", pair.student))
    return ", ".join(f"{role} {sized(name, sizes)}" for role, name in named if name)


def main_table(results: Results, sizes: Mapping[str, int], comparisons: Comparisons) -> Table:
    """Every score of every method, below its references."""
    headings = [Heading(one.heading, one.detail) for one in results.measures]
    return Table(
        name="main",
        caption=f"{seeds_sentence(results)} {RULE} {MISSING}: not measured, or not defined there.",
        group_headings=("Teacher", "Student"),
        headings=(Heading("Method", numeric=False), Heading("Seeds"), *headings),
        groups=tuple(_main_group(results, pair, sizes, comparisons) for pair in results.pairs),
    )


def seeds_sentence(results: Results) -> str:
    """What the numbers are means of, and what their intervals cover."""
    runs = {mean.seed_count for (row, _), mean in results.means.items() if row.kind == "method"}
    if runs == {1}:
        return f"One training seed; ± is half of a 95 % interval {OVER_ITEMS}{CUT}."
    counts = " or ".join(str(count) for count in sorted(runs))
    one = f"; where there is one, {OVER_ITEMS}" if 1 in runs else ""
    return (
        f"Means over {counts} training seeds; ± is half of a 95 % interval over seeds and "
        f"items{one}{CUT}."
    )


def _main_group(
    results: Results, pair: Pair, sizes: Mapping[str, int], comparisons: Comparisons
) -> Group:
    def cells(row: Row) -> tuple[Cell, ...]:
        means = [results.means.get((row, measure)) for measure in results.measures]
        runs = max((mean.seed_count for mean in means if mean), default=0)
        return (
            named(row),
            Cell(str(runs), runs),
            *(_score_cell(results, comparisons, row, measure) for measure in results.measures),
        )

    return Group(
        title=pair_title(pair, sizes),
        names=(pair.teacher, pair.student),
        references=tuple(cells(row) for row in results.references[pair]),
        rows=tuple(cells(row) for row in results.methods[pair]),
    )


def named(row: Row) -> Cell:
    """The name of a row of the main table, which leads to all that is known of it."""
    return Cell(row.label, row.label, link=anchors.of_cell(row))


def _score_cell(results: Results, comparisons: Comparisons, row: Row, measure: Measure) -> Cell:
    place = (row, measure)
    if place not in results.means:
        return Cell(MISSING)
    value = results.means[place].value
    interval = comparisons.intervals.get(place)
    letters = comparisons.letters.get(place, "")
    text, spread = measure.format(value), ""
    if interval and interval.is_symmetric_around(value):
        spread = measure.format(interval.half_width)
    elif interval:
        text += f" ({measure.format(interval.low)} to {measure.format(interval.high)})"
    return Cell(text, value, spread, letters=letters)


def p_text(p_value: float) -> str:
    """A p-value with two digits, and a bound where it is tiny."""
    return "< 0.0001" if p_value < 1e-4 else f"{p_value:.2g}"


@dataclass(frozen=True)
class CostColumn:
    """A column of the cost table, and how to read it off a training."""

    heading: Heading
    value: Callable[[JobCost], float | None]
    text: Callable[[float], str]


COSTS = (
    CostColumn(Heading("Time", "seconds"), lambda job: job.cost.seconds, duration),
    CostColumn(Heading("Trained on", "tokens"), lambda job: job.cost.trained_tokens, amount),
    CostColumn(
        Heading("Written by student", "tokens"),
        lambda job: job.cost.student_generated_tokens,
        amount,
    ),
    CostColumn(
        Heading("Written by teacher", "tokens"),
        lambda job: job.cost.teacher_generated_tokens,
        amount,
    ),
    CostColumn(Heading("Scored by teacher", "tokens"), lambda job: job.cost.teacher_tokens, amount),
    CostColumn(Heading("FLOPs"), lambda job: job.cost.flops, "{:.2e}".format),
    CostColumn(Heading("Parameters"), lambda job: job.parameters, amount),
    CostColumn(
        Heading("Peak memory", "GiB"),
        lambda job: gibibytes(job.cost.peak_memory_bytes),
        "{:.2f}".format,
    ),
)
