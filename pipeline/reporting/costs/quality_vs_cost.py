"""How good each training was at each cost: held-out NLL against what had been paid by then."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import stats

from pipeline.reporting.analysis.scores import Pair, Row
from pipeline.reporting.costs.attribution import ACCOUNTS, OWN, Account, Charge
from pipeline.reporting.costs.books import Books
from pipeline.reporting.costs.tables import operations
from pipeline.reporting.render.table import duration

LEVEL = 0.95  # of intervals over seeds


@dataclass(frozen=True)
class Unit:
    """What a course is measured in."""

    name: str
    title: str
    column: str  # of STEPS: the student's own part
    value: Callable[[Charge], float | None]  # of everything that is charged to it
    text: Callable[[float], str]


SECONDS = Unit("seconds", "seconds", "seconds", lambda one: one.seconds, duration)
FLOPS = Unit("flops", "FLOPs", "flops", lambda one: one.flops, operations)
STEPS = Unit("steps", "steps", "step", lambda _: 0.0, "{:.0f}".format)  # only the student's count


@dataclass(frozen=True)
class Course:
    """One training: what had been paid each time that held-out NLL was measured."""

    costs: np.ndarray
    nll_nats: np.ndarray

    def at(self, budgets: np.ndarray) -> np.ndarray:
        """NLL at some budgets: linear between two measurements, NaN before the first one.

        A training that is over stays as good as it is.
        """
        return np.interp(budgets, self.costs, self.nll_nats, left=np.nan)


@dataclass(frozen=True)
class Race:
    """The methods of a pair on one scale of costs, each with a course for each seed."""

    pair: Pair
    account: Account
    unit: Unit
    courses: Mapping[Row, Mapping[int, Course]]

    @property
    def title(self) -> str:
        """What is counted, and how it is charged."""
        return STEPS.title if self.unit is STEPS else f"{self.unit.title}, {self.account.title}"

    def at(self, row: Row, budgets: np.ndarray) -> np.ndarray:
        """NLL of a method's seeds at some budgets: [seeds, budgets]."""
        return np.stack([course.at(budgets) for course in self.courses[row].values()])

    def differences(self, one: Row, other: Row, budgets: np.ndarray) -> np.ndarray:
        """NLL of `one` less that of `other`, for the seeds that both have: [seeds, budgets]."""
        mine, others = self.courses[one], self.courses[other]
        found = [
            mine[seed].at(budgets) - others[seed].at(budgets) for seed in mine if seed in others
        ]
        return np.array(found).reshape(len(found), len(budgets))

    def ends(self) -> dict[Row, float]:
        """What each method's training took until its last measurement, the mean over seeds."""
        return {
            row: float(np.mean([course.costs[-1] for course in seeds.values()]))
            for row, seeds in self.courses.items()
        }


def races(books: Books, unit: Unit) -> Iterator[Race]:
    """A race for each pair and way of charging; none where fewer than two methods take part."""
    accounts = (OWN,) if unit is STEPS else ACCOUNTS
    for (pair, rows), account in product(books.results.methods.items(), accounts):
        courses = {row: _courses(books, row, unit, account) for row in rows}
        measured = {row: seeds for row, seeds in courses.items() if seeds}
        if len(measured) > 1:
            yield Race(pair, account, unit, measured)


def _courses(books: Books, row: Row, unit: Unit, account: Account) -> dict[int, Course]:
    """A course for each seed; empty where the cost or the NLL of one is not known."""
    found = {}
    for seed, path in books.trained(row).items():
        charges = (account.charges(books.ledger)[path], books.ledger.own[path])
        charged, own = (None if one is None else unit.value(one) for one in charges)
        measured = books.validations[path]
        costs, nll_nats = measured[unit.column], measured["validation_nll_nats"]
        if charged is None or own is None or np.isnan(costs).any() or not len(costs):
            return {}
        found[seed] = Course(charged - own + costs, nll_nats)
    return found


def margin(differences: np.ndarray) -> np.ndarray:
    """Half of the interval of a mean over seeds, from [seeds, budgets]; infinite for one seed."""
    seeds = len(differences)
    if seeds < 2:
        return np.full(differences.shape[1], np.inf)
    error = differences.std(axis=0, ddof=1) / np.sqrt(seeds)
    return stats.t.ppf((1 + LEVEL) / 2, seeds - 1) * error
