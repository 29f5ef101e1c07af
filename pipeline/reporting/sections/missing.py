"""The cells that a partial report lacks, each with the reason."""

from collections import Counter
from collections.abc import Mapping

import pandas as pd

from pipeline.reporting.render.table import Column, Table, number_column, table, text_column
from pipeline.settings.report import MissingCell, ReportSettings

CAPTION = (
    "Cells of the grid that are not in this report. No number here is of them: means, tests and "
    "ranks are over the finished cells alone, and will change with the missing ones."
)
COLUMNS: tuple[Column[MissingCell], ...] = (
    text_column("Method", lambda cell: cell.method),
    text_column("Kind", lambda cell: cell.kind),
    number_column("Seed", lambda cell: cell.seed),
    text_column("Why", lambda cell: cell.why),
)


def missing_table(settings: ReportSettings) -> Table | None:
    """The missing cells by teacher and student; None for a whole report."""
    pairs: dict[tuple[str, ...], list[MissingCell]] = {}
    for cell in settings.missing:
        pairs.setdefault((cell.teacher, cell.student), []).append(cell)
    return table(
        "missing",
        CAPTION,
        COLUMNS,
        pairs,
        ("Teacher", "Student"),
        pd.DataFrame([cell.model_dump() for cell in settings.missing]),
        lambda *names: " → ".join(filter(None, names)),
    )


def notes(settings: ReportSettings) -> Mapping[str, str]:
    """What a partial report lacks of each method, by the method's name in the grid."""
    states: dict[str, Counter[str]] = {}
    for cell in settings.missing:
        if cell.kind == "method":
            state = "failed" if "failed" in cell.why else "not yet run"
            states.setdefault(cell.method, Counter())[state] += 1
    return {
        method: ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        for method, counts in states.items()
    }
