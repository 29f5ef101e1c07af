"""What each method took: by itself, with all that it needs, and with its share of that."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import stdev

from pipeline.reporting.analysis.scores import Row
from pipeline.reporting.costs.attribution import ACCOUNTS, IN_FULL, OWN, Account, Charge
from pipeline.reporting.costs.books import Books
from pipeline.reporting.render.table import (
    MISSING,
    Cell,
    Group,
    Heading,
    Table,
    amount,
    duration,
    gibibytes,
    named,
    pair_title,
)

WAYS = (
    "Own: the student's training alone. In full: with its start, its teacher, the teacher's texts "
    "and cache, and students that label for it, as if the method were run by itself. Amortised: a "
    "job that several trainings of the grid use is divided among them. A student that needs no "
    f"teacher is trained once and stands under each. {MISSING}: not measured."
)


@dataclass(frozen=True)
class Kind:
    """Something that is paid, and the ways to charge it that are shown."""

    title: str
    unit: str
    value: Callable[[Charge], float | None]
    text: Callable[[float], str]
    accounts: tuple[Account, ...] = ACCOUNTS


def operations(flops: float) -> str:
    """FLOPs with three digits."""
    return f"{flops:.2e}"


TIME = Kind("Time", "s", lambda one: one.seconds, duration)
DEVICE = Kind("Core or GPU time", "s", lambda one: one.device_seconds, duration, (OWN,))
FLOPS = Kind("FLOPs", "", lambda one: one.flops, operations)
ENERGY = Kind("Energy", "J", lambda one: one.energy_joules, amount)
MEMORY = Kind(
    "Peak memory",
    "GiB",
    lambda one: gibibytes(one.memory_bytes),
    "{:.2f}".format,
    (OWN, IN_FULL),
)
TOKENS = (
    Kind("Trained on", "", lambda one: one.trained_tokens, amount),
    Kind("Written by student", "", lambda one: one.student_generated_tokens, amount),
    Kind("Written by teacher", "", lambda one: one.teacher_generated_tokens, amount),
    Kind("Scored by teacher", "", lambda one: one.teacher_tokens, amount),
)


def price_table(books: Books) -> Table:
    """Time, FLOPs, memory, and energy where any was measured."""
    kinds = [TIME, DEVICE, FLOPS, ENERGY, MEMORY]
    charges = books.ledger.own.values()
    shown = [one for one in kinds if any(one.value(charge) is not None for charge in charges)]
    return _table(
        "cost", f"Means over training seeds, own time with its spread. {WAYS}", shown, books
    )


def token_table(books: Books) -> Table:
    """Tokens trained on, written, and scored by a teacher."""
    caption = (
        f"Response tokens, means over training seeds. {WAYS} A teacher scores a token when it "
        "gives its distribution: for a loss, for its cache, or while text is written with it."
    )
    return _table("cost_tokens", caption, TOKENS, books)


def _table(name: str, caption: str, kinds: Sequence[Kind], books: Books) -> Table:
    return Table(
        name=name,
        caption=caption,
        group_headings=("Teacher", "Student"),
        headings=(
            Heading("Method", numeric=False),
            Heading("Runs"),
            *(
                Heading(kind.title, ", ".join(part for part in (account.title, kind.unit) if part))
                for kind in kinds
                for account in kind.accounts
            ),
        ),
        groups=tuple(
            Group(
                pair_title(pair, books.sizes),
                (pair.teacher, pair.student),
                (),
                tuple(_row(row, kinds, books) for row in rows),
            )
            for pair, rows in books.results.methods.items()
        ),
    )


def _row(row: Row, kinds: Sequence[Kind], books: Books) -> tuple[Cell, ...]:
    trainings = list(books.trained(row).values())
    cells = []
    for kind in kinds:
        for account in kind.accounts:
            charged = account.charges(books.ledger)
            charges = [charged[one] for one in trainings]
            values = [None if charge is None else kind.value(charge) for charge in charges]
            cells.append(_cell(kind, values, spread=kind is TIME and account is OWN))
    return (named(row), Cell(str(len(trainings)), len(trainings)), *cells)


def _cell(kind: Kind, values: Sequence[float | None], *, spread: bool) -> Cell:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return Cell(MISSING)
    mean = sum(known) / len(known)
    if not spread or len(known) == 1:
        return Cell(kind.text(mean), mean)
    beside = stdev(known)
    return Cell(kind.text(mean), mean, kind.text(beside), beside=(("spread", beside),))
