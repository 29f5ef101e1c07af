"""Recomputes the numbers of a report from its items, by code that it shares nothing with.

python -m workflow.commands.self_check results/published/demo
"""

import argparse
import csv
import math
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

TOLERANCE = 1e-9  # relative: two orders of summing the same numbers
ITEMS, CALIBRATION = "items.parquet", "calibration.parquet"
ECE = "ece"  # the only metric that is not a mean over items
CELL = ("teacher", "student", "method")
MEASURE = ("task", "slice", "metric")
Cell = tuple[str, ...]  # the values of CELL and MEASURE
Advance = Callable[[int, int], None]  # how many are done, of how many


@dataclass(frozen=True)
class Measured:
    """A metric on a task or a part of it; against which teacher, where it needs one."""

    task: str
    slice: str
    metric: str
    teacher: str


@dataclass(frozen=True)
class Recomputed:
    """A metric's value, standard error and number of items, recomputed."""

    value: float
    stderr: float
    items: int


def recompute(rows: Iterable[Mapping]) -> Recomputed:
    """The weighted mean; its error over items, all values of an item taken together."""
    numerators: dict[str, float] = {}
    weights: dict[str, float] = {}
    for row in rows:
        item, weight = row["example_id"], row["weight"]
        added = weight * row["value"] if weight else 0.0  # no weight: not defined on this item
        numerators[item] = numerators.get(item, 0.0) + added
        weights[item] = weights.get(item, 0.0) + weight
    return _ratio(numerators, weights)


def _ratio(numerators: Mapping[str, float], weights: Mapping[str, float]) -> Recomputed:
    """A ratio of two sums over items, and how much another draw of items would move it."""
    total = math.fsum(weights.values())
    value = math.fsum(numerators.values()) / total
    n = len(weights)
    if n == 1:
        return Recomputed(value, math.nan, 1)
    squares = math.fsum((numerators[item] - value * weights[item]) ** 2 for item in weights)
    return Recomputed(value, math.sqrt(n / (n - 1) * squares) / total, n)


def by_measure(rows: Iterable[Mapping]) -> dict[Measured, Recomputed]:
    """All metrics of one evaluation."""
    grouped: dict[Measured, list[Mapping]] = {}
    for row in rows:
        key = Measured(row["task"], row["slice"], row["metric"], row["teacher"])
        grouped.setdefault(key, []).append(row)
    defined = {key: rows for key, rows in grouped.items() if any(row["weight"] for row in rows)}
    return {key: recompute(rows) for key, rows in defined.items()}


def calibration_error(rows: Sequence[Mapping]) -> Recomputed:
    """How far the bins' accuracy is from their confidence, as a mean over tokens."""
    gaps: dict[int, float] = {}
    for row in rows:
        gaps[row["bin"]] = gaps.get(row["bin"], 0.0) + row["correct"] - row["confidence"]
    numerators: dict[str, float] = {}
    tokens: dict[str, float] = {}
    for row in rows:
        item = row["example_id"]
        gap = math.copysign(1.0, gaps[row["bin"]]) * (row["correct"] - row["confidence"])
        numerators[item] = numerators.get(item, 0.0) + gap
        tokens[item] = tokens.get(item, 0.0) + row["tokens"]
    return _ratio(numerators, tokens)


@dataclass(frozen=True)
class Evidence:
    """The items behind a report, wherever they are."""

    items: Callable[[str], list[dict]]  # of an evaluation
    calibration: Callable[[str], list[dict]]


def in_results(results: Path) -> Evidence:
    """The files of each evaluation."""

    def read(name: str) -> Callable[[str], list[dict]]:
        return lambda id: pq.read_table(results / "evals" / id / name).to_pylist()

    return Evidence(read(ITEMS), read(CALIBRATION))


def beside(folder: Path) -> Evidence:
    """The items that were published with the report. Raises ValueError if there are none."""
    if not (folder / ITEMS).is_file():
        raise ValueError(f"{folder} has no {ITEMS}: they were too large to publish")

    def read(name: str) -> Callable[[str], list[dict]]:
        rows: dict[str, list[dict]] = {}
        for row in pq.read_table(folder / name).to_pylist():
            rows.setdefault(row["id"], []).append(row)
        return lambda id: rows.get(id, [])

    return Evidence(read(ITEMS), read(CALIBRATION))


def _nobody_watches(_done: int, _total: int) -> None:
    """No progress is shown."""


def check(report: Path, grid: Path, evidence: Evidence, advance: Advance = _nobody_watches) -> int:
    """How many numbers of a report agree with the items. Raises ValueError naming one that doesn't.

    The numbers are those of scores.parquet and, of its tables, of main.csv and slices.csv.
    `advance` is told how many evaluations of how many are checked.
    """
    teachers = {row["teacher"]: row["teacher_id"] for row in _csv(grid)}
    scores = pq.read_table(report / "scores.parquet").to_pylist()
    values: dict[Cell, dict[str, float]] = {}  # by evaluation
    checked = 0
    by_evaluation = _by_evaluation(scores)
    for number, (id, rows) in enumerate(by_evaluation.items()):
        advance(number, len(by_evaluation))
        measured = by_measure(evidence.items(id))
        for row in rows:
            recomputed = _of_score(row, measured, teachers, evidence)
            checked += _compare_score(row, recomputed)
            cell = tuple(row[name] for name in (*CELL, *MEASURE))
            values.setdefault(cell, {})[id] = recomputed.value
    return checked + _check_tables(report / "tables", values)


def _by_evaluation(scores: Iterable[dict]) -> dict[str, list[dict]]:
    grouped: dict[str, list[dict]] = {}
    for row in scores:
        grouped.setdefault(row["id"], []).append(row)
    return grouped


def _of_score(
    row: Mapping,
    measured: Mapping[Measured, Recomputed],
    teachers: Mapping[str, str],
    evidence: Evidence,
) -> Recomputed:
    for teacher in ("", teachers[row["teacher"]]):
        key = Measured(row["task"], row["slice"], row["metric"], teacher)
        if key in measured:
            return measured[key]
    if row["metric"] == ECE:
        return calibration_error(evidence.calibration(row["id"]))
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
    if row["low"] and not _within(statistics.fmean(points), float(row["low"]), float(row["high"])):
        raise ValueError(f"{place} is not between {row['low']} and {row['high']}")
    return sum(1 for value in expected.values() if value)


def _within(value: float, low: float, high: float) -> bool:
    return low <= value <= high or _same(value, low) or _same(value, high)


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
