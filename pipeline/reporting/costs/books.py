"""All that tables and plots of costs are made of: charges, trainings, and validation curves."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.reporting.analysis.load import ReportInputs
from pipeline.reporting.analysis.scores import Results, Row
from pipeline.reporting.costs.attribution import Ledger, ledger_of

MEASURED = ("step", "seconds", "flops", "validation_nll_nats")


@dataclass(frozen=True)
class Books:
    """The books of an experiment."""

    inputs: ReportInputs
    results: Results
    sizes: Mapping[str, int]
    ledger: Ledger
    trainings: Mapping[tuple[str, str, str], Mapping[int, str]]
    validations: Mapping[str, Mapping[str, np.ndarray]]  # columns of STEPS where NLL was measured

    def trained(self, row: Row) -> Mapping[int, str]:
        """The trainings of a row of the main table, by seed."""
        return self.trainings[row.teacher, row.student, row.method]


def keep_books(inputs: ReportInputs, results: Results, sizes: Mapping[str, int]) -> Books:
    """Charges and curves of every training in the grid, each looked up once."""
    trainings = trainings_of(inputs.grid)
    paths = [path for seeds in trainings.values() for path in seeds.values()]
    return Books(inputs, results, sizes, ledger_of(inputs), trainings, _validations(inputs, paths))


def _validations(inputs: ReportInputs, paths: Iterable[str]) -> dict[str, dict[str, np.ndarray]]:
    found = {}
    for path in dict.fromkeys(paths):
        steps = inputs.training_steps[path.partition("/")[2]]
        measured = ~np.isnan(steps["validation_nll_nats"])
        found[path] = {name: steps[name][measured].astype(float) for name in MEASURED}
    return found


def trainings_of(grid: pd.DataFrame) -> dict[tuple[str, str, str], dict[int, str]]:
    """The trainings of each teacher, student and method, by their seeds.

    What stands in the grid under several seeds is one training, under the first of them.
    """
    found: dict[tuple[str, str, str], dict[int, str]] = {}
    ordered = grid[grid["kind"] == "method"].sort_values("seed", kind="stable")
    columns = (ordered[name] for name in ("teacher", "student", "method", "seed", "student_id"))
    for teacher, student, method, seed, id in zip(*columns, strict=True):
        of_row = found.setdefault((teacher, student, method), {})
        if f"students/{id}" not in of_row.values():
            of_row[int(seed)] = f"students/{id}"
    return found
