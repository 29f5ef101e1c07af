"""The tables of the report, before any format: cells with a text, a value and a mark."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from pipeline.reporting.inputs import Cost, Inputs
from pipeline.reporting.metrics import Measure
from pipeline.reporting.scores import Mean, Pair, Results, Row, alike, mean_of

MISSING = "—"  # noted in every caption that may need it
RULE = (
    "Within one teacher and student, • marks the best method and every method whose mean differs "
    "from it by no more than the larger of the two spreads. It is no test of significance."
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
    value: float | str | None = None
    spread: str = ""
    marked: bool = False


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


def amount(number: float) -> str:
    """A count with three digits: 512, 1.50k, 124M."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.0f}"


def duration(seconds: float) -> str:
    """Seconds, with a decimal where there are few."""
    return f"{seconds:,.0f}" if seconds >= 100 else f"{seconds:.1f}"


def sizes_of(inputs: Inputs) -> dict[str, int]:
    """The parameters of every teacher and student, by name, as far as they were counted."""
    found = {}
    for cell in inputs.grid.itertuples(index=False):
        if cell.teacher_id in inputs.costs:
            found[cell.teacher] = inputs.costs[cell.teacher_id].parameters
        elif parameters := inputs.caches.get(cell.cache_id, {}).get("parameters"):
            found[cell.teacher] = parameters  # counted by the pass over a teacher as it came
        if cell.kind == "method":
            found[cell.student] = inputs.costs[cell.student_id].parameters
    return found


def sized(name: str, sizes: Mapping[str, int]) -> str:
    """A model's name with its size."""
    return f"{name} ({amount(sizes[name])})" if name in sizes else name


def pair_title(pair: Pair, sizes: Mapping[str, int]) -> str:
    """The pair in words, with its sizes."""
    named = (("Teacher", pair.teacher), ("student", pair.student))
    return ", ".join(f"{role} {sized(name, sizes)}" for role, name in named if name)


def main_table(results: Results, sizes: Mapping[str, int]) -> Table:
    """Every score of every method, below its references."""
    headings = [Heading(one.heading, one.detail) for one in results.measures]
    return Table(
        name="main",
        caption=f"{seeds_sentence(results)} {MISSING}: not measured.",
        group_headings=("Teacher", "Student"),
        headings=(Heading("Method", numeric=False), Heading("Seeds"), *headings),
        groups=tuple(_main_group(results, pair, sizes) for pair in results.pairs),
    )


def seeds_sentence(results: Results) -> str:
    """What the numbers are means of, and what their mark says."""
    runs = {mean.runs for (row, _), mean in results.means.items() if row.kind == "method"}
    if runs == {1}:
        return "One training seed: no number has a spread over seeds, so nothing is marked."
    counts = " or ".join(str(count) for count in sorted(runs))
    return f"Mean ± sample standard deviation over {counts} training seeds. {RULE}"


def _main_group(results: Results, pair: Pair, sizes: Mapping[str, int]) -> Group:
    marked = {
        (row, measure) for measure in results.judged for row in group_of(results, pair, measure)
    }

    def cells(row: Row) -> tuple[Cell, ...]:
        means = [results.means.get((row, measure)) for measure in results.measures]
        runs = max((mean.runs for mean in means if mean), default=0)
        return (
            Cell(row.label, row.label),
            Cell(str(runs), runs),
            *(
                _score_cell(measure, mean, marked=(row, measure) in marked)
                for measure, mean in zip(results.measures, means, strict=True)
            ),
        )

    return Group(
        title=pair_title(pair, sizes),
        names=(pair.teacher, pair.student),
        references=tuple(cells(row) for row in results.references[pair]),
        rows=tuple(cells(row) for row in results.methods[pair]),
    )


def group_of(results: Results, pair: Pair, measure: Measure) -> tuple[Row, ...]:
    """The methods within the spread of the best; none where there is no spread."""
    means = results.found(results.methods[pair], measure)
    if all(mean.spread is None for mean in means.values()):
        return ()
    return alike(means, higher_is_better=bool(measure.metric.higher_is_better))


def _score_cell(measure: Measure, mean: Mean | None, *, marked: bool) -> Cell:
    if mean is None:
        return Cell(MISSING)
    spread = "" if mean.spread is None else measure.text(mean.spread)
    return Cell(measure.text(mean.value), mean.value, spread, marked)


@dataclass(frozen=True)
class CostColumn:
    """A column of the cost table, and how to read it off a training."""

    heading: Heading
    value: Callable[[Cost], float | None]
    text: Callable[[float], str]


COSTS = (
    CostColumn(Heading("Time", "seconds"), lambda cost: cost.seconds, duration),
    CostColumn(Heading("Trained on", "tokens"), lambda cost: cost.trained_tokens, amount),
    CostColumn(Heading("Written", "tokens"), lambda cost: cost.written_tokens, amount),
    CostColumn(Heading("Read by teacher", "tokens"), lambda cost: cost.teacher_tokens, amount),
    CostColumn(Heading("Parameters"), lambda cost: cost.parameters, amount),
    CostColumn(
        Heading("Peak memory", "GiB"),
        lambda cost: cost.peak_memory_bytes,
        lambda n: f"{n / 2**30:.2f}",
    ),
)


def cost_table(inputs: Inputs, results: Results, sizes: Mapping[str, int]) -> Table:
    """What was paid: by the teacher and its cache once, by each student for itself."""
    groups = [
        Group(
            pair_title(pair, sizes), (pair.teacher, pair.student), (), _student_rows(inputs, rows)
        )
        for pair, rows in results.methods.items()
    ]
    return Table(
        name="cost",
        caption=(
            "Means over training seeds, seconds with their spread. A student that needs no teacher "
            "is trained once and stands under each. The teacher, its cache and its texts "
            f"are paid once and shared by the methods that use them. {MISSING}: not measured."
        ),
        group_headings=("Teacher", "Student"),
        headings=(
            Heading("What", numeric=False),
            Heading("Runs"),
            *(column.heading for column in COSTS),
        ),
        groups=(Group("Shared by all methods", ("", ""), _shared_rows(inputs), ()), *groups),
    )


def _student_rows(inputs: Inputs, rows: Iterable[Row]) -> tuple[tuple[Cell, ...], ...]:
    return tuple(
        _cost_cells(row.label, [inputs.costs[id] for id in student_ids(inputs, row)])
        for row in rows
    )


def student_ids(inputs: Inputs, row: Row) -> list[str]:
    """What was trained for a row of the main table, an id for each seed."""
    grid = inputs.grid.sort_values("seed", kind="stable")
    here = (grid["teacher"] == row.teacher) & (grid["student"] == row.student)
    return list(dict.fromkeys(grid.loc[here & (grid["method"] == row.method), "student_id"]))


def _shared_rows(inputs: Inputs) -> tuple[tuple[Cell, ...], ...]:
    grid = inputs.grid
    teachers = dict(zip(grid["teacher_id"], grid["teacher"], strict=True))
    starts = grid[grid["kind"] == "start"].groupby("student", sort=False)["student_id"].unique()
    rows = [
        _cost_cells(f"teacher {name}", [inputs.costs[id]])
        for id, name in teachers.items()
        if id in inputs.costs
    ]
    passes = (("cache", inputs.caches, "Read by teacher"), ("texts", inputs.texts, "Written"))
    rows += [
        _pass_cells(f"{what} {id}", manifest, column)
        for what, manifests, column in passes
        for id, manifest in manifests.items()
    ]
    rows += [
        _cost_cells(f"warm-up of {name}", [inputs.costs[id] for id in ids])
        for name, ids in starts.items()
    ]
    return tuple(rows)


def _cost_cells(what: str, costs: list[Cost]) -> tuple[Cell, ...]:
    cells = []
    for column in COSTS:
        values = [value for cost in costs if (value := column.value(cost)) is not None]
        if len(values) < len(costs):
            cells.append(Cell(MISSING))
            continue
        mean = mean_of(tuple(values))
        with_spread = column is COSTS[0] and mean.spread is not None
        spread = column.text(mean.spread or 0.0) if with_spread else ""
        cells.append(Cell(column.text(mean.value), mean.value, spread))
    return (Cell(what, what), Cell(str(len(costs)), len(costs)), *cells)


def _pass_cells(what: str, manifest: Mapping[str, object], tokens: str) -> tuple[Cell, ...]:
    """A pass of a teacher in the columns of a training; its tokens stand in the column `tokens`."""
    facts = {"Time": manifest.get("seconds"), tokens: manifest.get("tokens")}
    facts["Parameters"] = manifest.get("parameters")
    size = manifest.get("bytes")
    note = f" ({size / 2**20:,.1f} MiB)" if isinstance(size, int) else ""
    cells = [
        Cell(column.text(fact), fact) if isinstance(fact, int | float) else Cell(MISSING)
        for column in COSTS
        for fact in [facts.get(column.heading.title)]
    ]
    return (Cell(what + note, what), Cell("1", 1), *cells)
