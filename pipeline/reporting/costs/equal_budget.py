"""Who leads at equal steps, at equal time and at equal FLOPs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from pipeline.reporting.analysis.scores import Row
from pipeline.reporting.costs.books import Books
from pipeline.reporting.costs.quality_vs_cost import STEPS, Race, Unit, margin, races
from pipeline.reporting.render.formats import csv_text
from pipeline.reporting.render.table import MISSING, Cell, Group, Heading, Table, named, pair_title

SHARES = (0.25, 0.5, 0.75, 1.0)
DONE = ("the cheapest is", "a quarter are", "half are", "three quarters are", "all are")
CAPTION = (
    "Held-out NLL in nats a token, mean ± standard deviation over training seeds, read off the "
    "validation curves: linear between two measurements; a training that is over keeps its last "
    "value. The lead is over the next method, ± half of the 95 % interval of a paired t-test over "
    f"the seeds that both have, which the choice of the two is not allowed for. {MISSING}: not "
    "measured by then, or one seed. A training on its way is not one that was planned for that "
    "budget: its learning rate has yet to fall."
)

CSV_COLUMNS = (
    "Teacher",
    "Student",
    "Charged",
    "Method",
    "When",
    "Budget",
    "NLL (nats/token)",
    "NLL spread",
    "Lowest",
    "Lead (nats)",
    "Lead half width",
)


def equal_steps_table(books: Books) -> Table | None:
    """Each method after the same share of the longest training's steps; None for fewer than two."""
    found = [(race, max(race.ends().values()) * np.array(SHARES)) for race in races(books, STEPS)]
    headings = [Heading(f"{share:.0%}", "of the steps") for share in SHARES]
    return _table("equal_steps", CAPTION, headings, found, books)


def equal_cost_table(books: Books, unit: Unit) -> Table | None:
    """Each method at what others took to their end; None for fewer than two methods."""
    found = [(race, _budgets(race)) for race in races(books, unit)]
    headings = [Heading(f"When {done}", "done") for done in DONE]
    caption = f"{CAPTION} Budgets are in {unit.title}, charged as said (see the cost table)."
    return _table(f"equal_{unit.name}", caption, headings, found, books)


def _budgets(race: Race) -> np.ndarray:
    """Budgets that the cheapest training, a quarter of them ... and all of them just need."""
    shares = np.linspace(0, 1, len(DONE))
    return np.quantile(list(race.ends().values()), shares, method="higher")


def _table(
    name: str,
    caption: str,
    headings: Sequence[Heading],
    found: Sequence[tuple[Race, np.ndarray]],
    books: Books,
) -> Table | None:
    if not found:
        return None
    table = Table(
        name=name,
        caption=caption,
        group_headings=("Teacher", "Student", "Charged"),
        headings=(Heading("Method", numeric=False), *headings),
        groups=tuple(_group(race, budgets, books) for race, budgets in found),
    )
    return replace(table, csv=csv_text([CSV_COLUMNS, *_long_rows(table)]))


def _long_rows(table: Table) -> Iterator[list[object]]:
    """The table in long form: a row for each method at each budget, under CSV_COLUMNS."""
    whens = [f"{heading.title} {heading.detail}" for heading in table.headings[1:]]
    for group in table.groups:
        budgets, leaders, leads = (cells[1:] for cells in group.references)
        for named_cell, *cells in group.rows:
            columns = zip(whens, budgets, cells, leaders, leads, strict=True)
            for when, budget, cell, leader, lead in columns:
                first = leader.text == named_cell.text
                ahead = (lead.value, *dict(lead.beside).values()) if first else ()
                numbers = (budget.value, cell.value, *dict(cell.beside).values())
                row = [*group.names, named_cell.value, when, *padded(numbers, 3), first]
                yield [*row, *padded(ahead, 2)]


def padded(numbers: Sequence[float | None], width: int) -> list[object]:
    """So many cells of a CSV file, those empty that have no number."""
    known = ["" if number is None else number for number in numbers]
    return [*known, *([""] * (width - len(known)))]


def _group(race: Race, budgets: np.ndarray, books: Books) -> Group:
    points = {row: race.at(row, budgets) for row in race.courses}
    orders = [_ordered(points, place) for place in range(len(budgets))]
    leads = [_lead(race, order, budget) for order, budget in zip(orders, budgets, strict=True)]
    return Group(
        f"{pair_title(race.pair, books.sizes)}: {race.title}",
        (race.pair.teacher, race.pair.student, race.title),
        (
            (Cell(f"budget ({race.unit.title})"), *(Cell(race.unit.text(x), x) for x in budgets)),
            (Cell("lowest NLL"), *(Cell(one[0].label if one else MISSING) for one in orders)),
            (Cell("its lead (nats)"), *leads),
        ),
        tuple((named(row), *_cells(of_row)) for row, of_row in points.items()),
    )


def _ordered(points: Mapping[Row, np.ndarray], place: int) -> list[Row]:
    """The methods of which all seeds were measured by then, the lowest mean first."""
    means = {row: float(of_row[:, place].mean()) for row, of_row in points.items()}
    return sorted((row for row in means if not np.isnan(means[row])), key=lambda row: means[row])


def _lead(race: Race, order: Sequence[Row], budget: float) -> Cell:
    if len(order) < 2:
        return Cell(MISSING)
    differences = race.differences(order[1], order[0], np.array([budget]))
    if not len(differences):  # no seed in common
        return Cell(MISSING)
    half = float(margin(differences)[0])
    lead = float(differences.mean())
    if not np.isfinite(half):
        return Cell(f"{lead:.3f}", lead)
    return Cell(f"{lead:.3f}", lead, f"{half:.3f}", beside=(("half width", half),))


def _cells(nll_nats: np.ndarray) -> Iterator[Cell]:
    """The mean over seeds, from [seeds, budgets], at each budget."""
    means = nll_nats.mean(axis=0).tolist()
    spreads = nll_nats.std(axis=0, ddof=1).tolist() if len(nll_nats) > 1 else [None] * len(means)
    for mean, spread in zip(means, spreads, strict=True):
        if np.isnan(mean):
            yield Cell(MISSING)
        elif spread is None:
            yield Cell(f"{mean:.3f}", mean)
        else:
            yield Cell(f"{mean:.3f}", mean, f"{spread:.3f}", beside=(("spread", spread),))
