"""Recomputes the numbers of a report from its items, by code that it shares nothing with.

python -m workflow.commands.self_check results/published/demo
"""

import argparse
import csv
import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

TOLERANCE = 1e-9  # relative: two orders of summing the same numbers
ITEMS, CALIBRATION = "items.parquet", "calibration.parquet"
ECE = "ece"  # the only metric that is not a mean over items
CELL = ("teacher", "student", "method")
MEASURE = ("task", "slice", "metric")
Cell = tuple[str, ...]  # the values of CELL and MEASURE
Measured = tuple[str, ...]  # the values of MEASURE, and the teacher that a metric is against, or ""
Evidence = Callable[[str, str], pd.DataFrame]  # of an evaluation, by its id and the file's name
Advance = Callable[[int, int], None]  # how many are done, of how many


@dataclass(frozen=True)
class Recomputed:
    """A metric's value, standard error and number of items, recomputed."""

    value: float
    stderr: float
    items: int


def _ratio(ids: np.ndarray, numerators: np.ndarray, weights: np.ndarray) -> Recomputed:
    """A ratio of two sums over items, and how much another draw of items would move it.

    All values of an item, of which `ids` has the ids, are taken together.
    """
    items, _ = pd.factorize(ids)
    of_items, weights = np.bincount(items, numerators), np.bincount(items, weights)
    n, total = len(weights), weights.sum()
    value = of_items.sum() / total
    squares = ((of_items - value * weights) ** 2).sum()
    stderr = math.sqrt(n / (n - 1) * squares) / total if n > 1 else math.nan
    return Recomputed(float(value), float(stderr), n)


def by_measure(rows: pd.DataFrame) -> dict[Measured, Recomputed]:
    """All metrics of one evaluation: weighted means of those that are defined on an item."""
    measures: dict[Measured, Recomputed] = {}
    keys = [*MEASURE, "teacher"]
    for _, group in rows.groupby(keys, observed=True, sort=False):
        weights, values = group["weight"].to_numpy(float), group["value"].to_numpy(float)
        if weights.any():
            added = np.where(weights != 0, weights * values, 0.0)  # no weight: not defined
            key = tuple(str(group[name].iloc[0]) for name in keys)
            measures[key] = _ratio(group["example_id"].to_numpy(), added, weights)
    return measures


def calibration_error(rows: pd.DataFrame) -> Recomputed:
    """How far the bins' accuracy is from their confidence, as a mean over tokens."""
    gaps = rows["correct"].to_numpy(float) - rows["confidence"].to_numpy(float)
    bins, _ = pd.factorize(rows["bin"])
    signs = np.copysign(1.0, np.bincount(bins, gaps))[bins]
    return _ratio(rows["example_id"].to_numpy(), signs * gaps, rows["tokens"].to_numpy(float))


def in_results(results: Path) -> Evidence:
    """The items behind a report in the files of each evaluation."""
    return lambda id, name: pq.read_table(results / "evals" / id / name).to_pandas()


def beside(folder: Path) -> Evidence:
    """The items that were published with the report. Raises ValueError if there are none."""
    if not (folder / ITEMS).is_file():
        raise ValueError(f"{folder} has no {ITEMS}: they were too large to publish")
    tables = {name: pq.read_table(folder / name).to_pandas() for name in (ITEMS, CALIBRATION)}
    return lambda id, name: tables[name][tables[name]["id"] == id]


def check(report: Path, grid: Path, evidence: Evidence, advance: Advance | None = None) -> int:
    """How many numbers of a report agree with the items. Raises ValueError naming one that doesn't.

    The numbers are those of scores.parquet and, of its tables, of main.csv and slices.csv.
    `advance` is told how many evaluations of how many are checked.
    """
    teachers = {row["teacher"]: row["teacher_id"] for row in _csv(grid)}
    scores: dict[str, list[dict]] = defaultdict(list)  # by evaluation
    for row in pq.read_table(report / "scores.parquet").to_pylist():
        scores[row["id"]].append(row)
    values: dict[Cell, dict[str, float]] = defaultdict(dict)  # by evaluation
    checked = 0
    for number, (id, rows) in enumerate(scores.items()):
        if advance:
            advance(number, len(scores))
        measured = by_measure(evidence(id, ITEMS))
        for row in rows:
            recomputed = _of_score(row, measured, teachers, evidence)
            checked += _compare_score(row, recomputed)
            values[tuple(row[name] for name in (*CELL, *MEASURE))][id] = recomputed.value
    return checked + _check_tables(report / "tables", values)


def _of_score(
    row: Mapping,
    measured: Mapping[Measured, Recomputed],
    teachers: Mapping[str, str],
    evidence: Evidence,
) -> Recomputed:
    for teacher in ("", teachers[row["teacher"]]):
        key = (row["task"], row["slice"], row["metric"], teacher)
        if key in measured:
            return measured[key]
    if row["metric"] == ECE:
        return calibration_error(evidence(row["id"], CALIBRATION))
    raise ValueError(f"scores.parquet has {_name(row)}, of which {row['id']} has no items")


def _name(row: Mapping) -> str:
    parts = (*(row[name] for name in CELL), f"seed {row['seed']}", row["task"], row["slice"])
    return " ".join(part for part in (*parts, row["metric"]) if part)


def _compare_score(row: Mapping, recomputed: Recomputed) -> int:
    expected = {"value": recomputed.value, "stderr": recomputed.stderr, "n": recomputed.items}
    for name, value in expected.items():
        if not _same(row[name], value):
            raise ValueError(
                f"scores.parquet: {_name(row)}: the {name} is {row[name]}, "
                f"and the items of {row['id']} give {value}"
            )
    return 3


def _same(first: float, second: float) -> bool:
    if math.isnan(first) or math.isnan(second):
        return math.isnan(first) and math.isnan(second)
    return math.isclose(first, second, rel_tol=TOLERANCE, abs_tol=1e-12)


def _check_tables(folder: Path, values: Mapping[Cell, Mapping[str, float]]) -> int:
    """How many means and spreads in the tables of scores agree with the evaluations behind them."""
    checked, seen = 0, set()
    for path in (folder / "main.csv", folder / "slices.csv"):
        for row in _csv(path) if path.is_file() else ():
            student = row["teacher"] if row["kind"] == "teacher" else row["student"]
            cell = (row["teacher"], student, row["method"], *(row[name] for name in MEASURE))
            checked += _compare_row(path, row, list(values.get(cell, {}).values()))
            seen.add(cell)
    for cell in values.keys() - seen:
        raise ValueError(f"{folder} has no mean of {' '.join(filter(None, cell))}")
    return checked


def _compare_row(path: Path, row: Mapping[str, str], points: list[float]) -> int:
    place = f"{path}: {' '.join(row[name] for name in (*CELL, *MEASURE) if row[name])}"
    expected = {
        "value": str(statistics.fmean(points)) if points else "",
        "sd": str(statistics.stdev(points)) if len(points) > 1 else "",
    }
    for name, value in expected.items():
        printed = row[name]
        if printed != value and not (printed and value and _same(float(printed), float(value))):
            raise ValueError(
                f"{place}: the {name} is {printed or 'empty'}, and the evaluations give "
                f"{value or 'nothing'}"
            )
    if row["low"]:
        mean, low, high = statistics.fmean(points), float(row["low"]), float(row["high"])
        if not (low <= mean <= high or _same(mean, low) or _same(mean, high)):
            raise ValueError(f"{place} is not between {row['low']} and {row['high']}")
    return sum(1 for value in expected.values() if value)


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def main() -> None:
    """Checks one published report against the items published with it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    try:
        checked = check(folder, folder / "grid.csv", beside(folder))
    except ValueError as error:
        sys.exit(f"error: {error}")
    print(f"{folder}: {checked} numbers agree with the items behind them")


if __name__ == "__main__":
    main()
