"""At which budget the order of two methods turns round, and how sure that is over seeds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.reporting.analysis.scores import Row
from pipeline.reporting.costs.books import Books
from pipeline.reporting.costs.quality_vs_cost import FLOPS, LEVEL, SECONDS, Race, margin, races
from pipeline.reporting.render.table import MISSING, Cell, Group, Heading, Table, named, pair_title

SHOWN = 10  # flips of a race, those with the clearest leads
PLACES = 256  # budgets at which all methods are compared, at most

CAPTION = (
    "Pairs of methods whose order by held-out NLL turns round for the last time at a "
    "budget: read off the mean over the seeds that both have, linear between measurements. "
    f"The interval has all budgets at which a paired t-test over seeds ({LEVEL:.0%}, not "
    "corrected for the number of pairs) can't tell the two apart around that one; "
    f"{MISSING}: no end of it was measured, always so with one seed. At most {SHOWN} of a "
    "group, those with the clearest lead on both sides. A training on its way is not one "
    "that was planned for that budget."
)


@dataclass(frozen=True)
class Turn:
    """The budget from which one method stays ahead of another, by the mean over seeds."""

    budget: float
    low: float | None  # the highest budget below it at which the first was surely ahead
    high: float | None  # the lowest budget above it at which the other surely is
    agreeing: int  # seeds whose own difference turns the same way
    seeds: int


@dataclass(frozen=True)
class Flip:
    """Two methods of which one is ahead until some budget, and the other from there on."""

    first: Row
    then: Row
    lead_before: float  # nats, at its largest
    lead_after: float  # nats, at the end
    turn: Turn


def flip_table(books: Books) -> Table | None:
    """The clearest flips of each race; None where no order ever turns."""
    found = [(race, flips(race)) for unit in (SECONDS, FLOPS) for race in races(books, unit)]
    groups = [_group(race, of_race, books) for race, of_race in found if of_race]
    if not groups:
        return None
    return Table(
        name="flips",
        caption=CAPTION,
        group_headings=("Teacher", "Student", "Charged"),
        headings=(
            Heading("Leads first", numeric=False),
            Heading("Leads then", numeric=False),
            Heading("From"),
            Heading("Interval", "lower end"),
            Heading("Interval", "upper end"),
            Heading("Seeds", "that agree, of all", numeric=False),
            Heading("Lead before", "nats, at most"),
            Heading("Lead at the end", "nats"),
        ),
        groups=tuple(groups),
    )


def flips(race: Race) -> list[Flip]:
    """The clearest flips of a race: those whose smaller lead, before or after, is largest."""
    found = []
    for first, then in _candidates(race)[:SHOWN]:
        budgets = _budgets(race, (first, then))
        differences = race.differences(first, then, budgets)
        measured = ~np.isnan(differences).any(axis=0)
        budgets, differences = budgets[measured], differences[:, measured]
        if len(differences) and (turn := turn_of(budgets, differences)):
            mean = differences.mean(axis=0)
            found.append(Flip(first, then, -mean.min(), mean[-1], turn))
    return found


def _candidates(race: Race) -> list[tuple[Row, Row]]:
    """Who leads first and who in the end, the clearest first, by the means over all seeds."""
    rows, budgets = list(race.courses), _budgets(race, race.courses)
    thinned = budgets[np.unique(np.linspace(0, len(budgets) - 1, PLACES).astype(int))]
    means = np.stack([race.at(row, thinned).mean(axis=0) for row in rows])
    found = []
    for place, row in enumerate(rows[:-1]):
        leads = means[place + 1 :] - means[place]  # of this row over each that follows
        low, high = np.fmin.reduce(leads, axis=1), np.fmax.reduce(leads, axis=1)
        for other, lowest, highest, last in zip(
            rows[place + 1 :], low, high, leads[:, -1], strict=True
        ):
            if min(last, -lowest) > 0:
                found.append((min(last, -lowest), other, row))
            elif min(-last, highest) > 0:
                found.append((min(-last, highest), row, other))
    return [(first, then) for _, first, then in sorted(found, key=lambda one: -one[0])]


def _budgets(race: Race, rows: Iterable[Row]) -> np.ndarray:
    """Every budget at which one of these methods was measured."""
    courses = (course for row in rows for course in race.courses[row].values())
    return np.unique(np.concatenate([course.costs for course in courses]))


def turn_of(budgets: np.ndarray, differences: np.ndarray) -> Turn | None:
    """Where the mean of the differences [seeds, budgets] is last below zero; None if it never is.

    Differences are above zero in the end, else there is no turn either.
    """
    mean = differences.mean(axis=0)
    below = np.flatnonzero(mean < 0)
    if not len(below) or mean[-1] <= 0:
        return None
    last = below[-1]
    share = mean[last] / (mean[last] - mean[last + 1])
    budget = float(budgets[last] + share * (budgets[last + 1] - budgets[last]))

    sure = margin(differences)
    before, after = budgets[: last + 1][mean[: last + 1] < -sure[: last + 1]], budgets[last + 1 :]
    after = after[mean[last + 1 :] > sure[last + 1 :]]
    turning = (differences[:, -1] > 0) & (differences < 0).any(axis=1)
    return Turn(
        budget,
        float(before[-1]) if len(before) else None,
        float(after[0]) if len(after) else None,
        int(turning.sum()),
        len(differences),
    )


def _group(race: Race, found: Sequence[Flip], books: Books) -> Group:
    return Group(
        f"{pair_title(race.pair, books.sizes)}: {race.title}",
        (race.pair.teacher, race.pair.student, race.title),
        (),
        tuple(_row(race, flip) for flip in found),
    )


def _row(race: Race, flip: Flip) -> tuple[Cell, ...]:
    turn = flip.turn
    ends = [turn.budget, turn.low, turn.high]
    return (
        named(flip.first),
        named(flip.then),
        *(Cell(MISSING) if end is None else Cell(race.unit.text(end), end) for end in ends),
        Cell(f"{turn.agreeing} of {turn.seeds}", turn.agreeing, beside=(("of all", turn.seeds),)),
        Cell(f"{flip.lead_before:.3f}", flip.lead_before),
        Cell(f"{flip.lead_after:.3f}", flip.lead_after),
    )
