"""The jobs behind a grid that no single method pays for: what is shared, and the evaluations."""

from collections.abc import Iterable, Mapping

from pipeline.reporting.costs.attribution import JOBS, Charge, charge_of, total
from pipeline.reporting.costs.books import Books
from pipeline.reporting.costs.tables import TIME, TOKENS, operations
from pipeline.reporting.render import anchors
from pipeline.reporting.render.table import MISSING, Cell, Group, Heading, Table, amount, gibibytes

CAPTION = (
    "Jobs that several trainings use, or that a training needs beside itself; how many trainings "
    "of the grid each was done for; and what the evaluations took, which is charged to no method. "
    f"Memory is the highest peak, everything else a sum. {MISSING}: does not apply, or not known."
)


def shared_table(books: Books) -> Table:
    """A row for each job that is charged to others, for evaluations, and for all of the grid."""
    evaluations = _evaluations(books)
    everything = total([*books.ledger.own.values(), *evaluations.values()])
    groups = (
        ("Done for trainings", [_job(path, books) for path in _shared(books)]),
        ("Charged to no method", [_line(what, "", one) for what, one in evaluations.items()]),
        ("The grid", [_line("everything, each job once", "", everything)]),
    )
    headings = [Heading(kind.title, "tokens") for kind in TOKENS]
    return Table(
        name="cost_shared",
        caption=CAPTION,
        group_headings=("Stage",),
        headings=(
            Heading("Job", numeric=False),
            Heading("Used by", "trainings"),
            Heading(TIME.title, "s"),
            Heading("FLOPs"),
            *headings,
            Heading("Peak memory", "GiB"),
            Heading("On disk", "MiB"),
        ),
        groups=tuple(Group(title, (title,), (), tuple(rows)) for title, rows in groups if rows),
    )


def _shared(books: Books) -> list[str]:
    """The jobs that are no training of the grid, by stage."""
    own = {path for seeds in books.trainings.values() for path in seeds.values()}
    others = books.ledger.own.keys() - own
    return sorted(
        others, key=lambda path: (-[path.startswith(one) for one in JOBS].index(True), path)
    )


def _evaluations(books: Books) -> Mapping[str, Charge]:
    """Of checkpoints by their kind, and the passes that only evaluations read."""
    costs, grid = books.inputs.costs, books.inputs.grid
    found = {}
    for kind, ids in grid.groupby("kind", sort=False)["eval_id"].unique().items():
        name = f"evaluations of kind {kind} ({len(ids)})"
        found[name] = total(charge_of(costs[id]) for id in ids)
    only = [path for path in books.inputs.manifests if path.startswith(JOBS)]
    unused = [path for path in only if path not in books.ledger.own]
    return found | {path: charge_of(costs[path.partition("/")[2]]) for path in unused}


def _job(path: str, books: Books) -> tuple[Cell, ...]:
    charge, users = books.ledger.own[path], str(books.ledger.users[path])
    size = books.inputs.manifests[path].get("bytes")
    return _line(path, users, charge, size if isinstance(size, int) else None)


def _line(what: str, users: str, charge: Charge, size: int | None = None) -> tuple[Cell, ...]:
    return (
        Cell(what, what, link=anchors.of_job(what) if what.startswith(JOBS) else ""),
        Cell(users or MISSING, int(users) if users else None),
        Cell(TIME.text(charge.seconds), charge.seconds),
        Cell(MISSING if charge.flops is None else operations(charge.flops), charge.flops),
        *_tokens(charge),
        Cell(f"{gibibytes(charge.memory_bytes):.2f}", gibibytes(charge.memory_bytes)),
        Cell(MISSING if size is None else f"{size / 2**20:,.1f}", size and size / 2**20),
    )


def _tokens(charge: Charge) -> Iterable[Cell]:
    for kind in TOKENS:
        value = kind.value(charge) or 0
        yield Cell(amount(value), value)
