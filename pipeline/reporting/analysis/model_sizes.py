"""Parameter counts of an experiment's models, and which models a row was trained into."""

from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.scores import Row


def sizes_of(inputs: ReportInputs) -> dict[str, int]:
    """Parameters of each teacher and student by name, where they were counted."""
    sizes = {}
    for cell in inputs.grid.itertuples(index=False):
        if cell.teacher_id in inputs.costs:
            sizes[cell.teacher] = inputs.costs[cell.teacher_id].parameters
        elif cell.cache_id in inputs.costs:  # a teacher that was not fine-tuned: its cache's pass
            sizes[cell.teacher] = inputs.costs[cell.cache_id].parameters
        if cell.kind == "method":
            sizes[cell.student] = inputs.costs[cell.student_id].parameters
    return sizes


def student_ids(inputs: ReportInputs, row: Row) -> list[str]:
    """Artifact ids of a row's trained students, by seed."""
    grid = inputs.grid.sort_values("seed", kind="stable")
    of_row = grid[["teacher", "student", "method"]] == [row.teacher, row.student, row.method]
    return list(dict.fromkeys(grid.loc[of_row.all(axis=1), "student_id"]))
