"""The content of `grid.csv`: which artifacts stand behind each cell of an experiment's tables."""

import csv
import io
from collections.abc import Mapping, Sequence

from workflow.grid.cell import Cell
from workflow.grid.grid import Grid

NAMES = ("kind", "teacher", "student", "method", "seed")  # of a cell


def rows(grid: Grid) -> list[dict[str, object]]:
    """What stands in the file of a grid: each cell, and the ids of what is behind it."""
    return [
        {
            **place(cell),
            "student_id": cell.model.id,
            "eval_id": grid.evaluations[cell.model].id,
            **_of_teacher(grid, cell.teacher),
        }
        for cell in grid.cells
    ]


def place(cell: Cell) -> dict[str, object]:
    """The columns that say which cell a row is of."""
    return {name: getattr(cell, name) for name in NAMES}


def _of_teacher(grid: Grid, teacher: str) -> dict[str, str]:
    """The ids of a teacher and its cache; empty for one behind an endpoint."""
    if teacher not in grid.experiment.local_teachers:
        return {"teacher_id": "", "cache_id": ""}
    return {"teacher_id": grid.teacher(teacher).id, "cache_id": grid.signals(teacher).id}


def text(rows: Sequence[Mapping[str, object]]) -> str:
    """A line for each cell, and one for the names of the columns."""
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()
