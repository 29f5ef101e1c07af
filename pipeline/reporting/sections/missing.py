"""The cells that a partial report lacks, each with the reason."""

from collections.abc import Mapping

import pandas as pd

from pipeline.reporting.render.table import Group, Heading, Table, number_cell, text_cell
from pipeline.settings.report import MissingCell, ReportSettings

CAPTION = (
    "Cells of the grid that are not in this report. No number here is of them: means, tests and "
    "ranks are over the finished cells alone, and will change with the missing ones."
)
HEADINGS = (
    *(Heading(title, numeric=False) for title in ("Method", "Kind")),
    Heading("Seed"),
    Heading("Why", numeric=False),
)


def missing_table(settings: ReportSettings) -> Table | None:
    """The missing cells by teacher and student; None for a whole report."""
    if not settings.missing:
        return None
    pairs: dict[tuple[str, str], list[MissingCell]] = {}
    for cell in settings.missing:
        pairs.setdefault((cell.teacher, cell.student), []).append(cell)
    return Table(
        name="missing",
        caption=CAPTION,
        group_headings=("Teacher", "Student"),
        headings=HEADINGS,
        groups=tuple(_group(names, cells) for names, cells in pairs.items()),
        data=pd.DataFrame([cell.model_dump() for cell in settings.missing]),
    )


def _group(names: tuple[str, str], cells: list[MissingCell]) -> Group:
    rows = (
        (
            text_cell(cell.method),
            text_cell(cell.kind),
            number_cell(cell.seed, lambda seed: f"{seed:.0f}"),
            text_cell(cell.why),
        )
        for cell in cells
    )
    return Group(" → ".join(filter(None, names)), names, (), tuple(rows))


def notes(settings: ReportSettings) -> Mapping[str, str]:
    """What a partial report lacks of each method, by the method's name in the grid."""
    whys: dict[str, list[str]] = {}
    for cell in settings.missing:
        if cell.kind == "method":
            whys.setdefault(cell.method, []).append(cell.why)
    return {method: _note(of_method) for method, of_method in whys.items()}


def _note(whys: list[str]) -> str:
    failed = sum("failed" in why for why in whys)
    counts = {"failed": failed, "not yet run": len(whys) - failed}
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count)
