"""Parameter counts of an experiment's models, and which models a row was trained into."""

from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.scores import Row


def sizes_of(inputs: ReportInputs) -> dict[str, int]:
    """Parameters of each teacher and student by name, where they were counted."""
    names = ("kind", "teacher", "student", "teacher_id", "cache_id", "student_id")
    columns = (inputs.grid[name] for name in names)
    sizes, costs = {}, inputs.costs
    for kind, teacher, student, teacher_id, cache_id, student_id in zip(*columns, strict=True):
        if teacher_id in costs:
            sizes[teacher] = costs[teacher_id].parameters
        elif cache_id in costs:  # a teacher that was not fine-tuned: from the pass over its texts
            sizes[teacher] = costs[cache_id].parameters
        if kind == "method":
            sizes[student] = costs[student_id].parameters
    return sizes


def student_ids(inputs: ReportInputs, row: Row) -> list[str]:
    """Artifact ids of a row's trained students, by seed."""
    grid = inputs.grid.sort_values("seed", kind="stable")
    of_row = grid[["teacher", "student", "method"]] == [row.teacher, row.student, row.method]
    return list(dict.fromkeys(grid.loc[of_row.all(axis=1), "student_id"]))
