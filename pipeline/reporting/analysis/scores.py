"""Scores from items, and means over seeds from scores."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.artifacts import schemas
from pipeline.reporting.analysis.item_sums import Sums
from pipeline.reporting.analysis.load import CELL, ReportInputs
from pipeline.reporting.analysis.metrics import Measure, measures_of

SCORE = ["task", "slice", "metric"]


@dataclass(frozen=True)
class Pair:
    """A student under a teacher: methods are compared within it."""

    teacher: str
    student: str


@dataclass(frozen=True)
class Row:
    """A row of the main table: a method for a pair, or one of its references."""

    kind: str
    teacher: str
    student: str
    method: str
    label: str


@dataclass(frozen=True)
class Place:
    """Where a score belongs."""

    teacher: str
    student: str
    method: str
    seed: int
    task: str
    slice: str
    metric: str


@dataclass(frozen=True)
class Mean:
    """A mean over training seeds."""

    value: float
    spread: float | None  # sample standard deviation over seeds; None for a single one
    seed_values: tuple[float, ...]

    @property
    def seed_count(self) -> int:
        """How many trainings it is a mean of."""
        return len(self.seed_values)


@dataclass(frozen=True)
class Results:
    """All scores, and how to walk through them."""

    scores: pd.DataFrame
    measures: tuple[Measure, ...]  # of whole tasks
    slice_measures: tuple[Measure, ...]  # of parts of them
    pairs: tuple[Pair, ...]
    references: Mapping[Pair, tuple[Row, ...]]
    methods: Mapping[Pair, tuple[Row, ...]]
    means: Mapping[tuple[Row, Measure], Mean]
    runs: Mapping[tuple[Row, Measure], Mapping[int, Sums]]  # items, by training seed

    @property
    def labels(self) -> tuple[str, ...]:
        """The methods as they are shown, in the order of the grid."""
        return tuple(dict.fromkeys(row.label for pair in self.pairs for row in self.methods[pair]))

    @property
    def ranked_measures(self) -> tuple[Measure, ...]:
        """The measures that somebody can be best at."""
        return tuple(one for one in self.measures if one.metric.higher_is_better is not None)

    def means_of(self, row: Row) -> dict[Measure, Mean]:
        """The means of a row that were measured, on whole tasks."""
        return {one: self.means[row, one] for one in self.measures if (row, one) in self.means}

    def means_by_row(self, rows: tuple[Row, ...], measure: Measure) -> dict[Row, Mean]:
        """The means of those of `rows` that were measured."""
        return {row: self.means[row, measure] for row in rows if (row, measure) in self.means}


def assemble(inputs: ReportInputs, titles: Mapping[str, str]) -> Results:
    """Everything that tables, plots and page are made of."""
    scores, found = score(inputs)
    grid = inputs.grid
    scored = scores[SCORE].drop_duplicates().itertuples(index=False, name=None)
    measures = measures_of(set(scored), titles)
    trained = grid[grid["kind"] == "method"]
    cells = zip(trained["teacher"], trained["student"], strict=True)
    pairs = tuple(Pair(*names) for names in dict.fromkeys(cells))

    rows = _rows(grid)
    runs = _runs(scores, found, rows, measures)
    return Results(
        scores=scores,
        measures=tuple(one for one in measures if not one.slice),
        slice_measures=tuple(one for one in measures if one.slice),
        pairs=pairs,
        references={pair: _references(rows, pair) for pair in pairs},
        methods={pair: _methods(rows, pair) for pair in pairs},
        means={
            key: mean_over_seeds(tuple(sums.value for sums in by_seed.values()))
            for key, by_seed in runs.items()
        },
        runs=runs,
    )


def _rows(grid: pd.DataFrame) -> list[Row]:
    labels = grid.groupby("method")["label"].agg(lambda column: sorted(set(column)))
    shown = {
        method: found[0] if len(found) == 1 and found[0] else method
        for method, found in labels.items()
    }
    cells = grid[["kind", *CELL]].drop_duplicates().itertuples(index=False)
    return [Row(*cell, label=shown[cell.method]) for cell in cells]


def _methods(rows: list[Row], pair: Pair) -> tuple[Row, ...]:
    return tuple(
        row for row in rows if row.kind == "method" and Pair(row.teacher, row.student) == pair
    )


def _references(rows: list[Row], pair: Pair) -> tuple[Row, ...]:
    of_pair = [row for row in rows if row.teacher == pair.teacher]
    return (
        *(row for row in of_pair if row.kind == "teacher"),
        *(row for row in of_pair if row.kind == "untrained" and row.student == pair.student),
        *(row for row in of_pair if row.kind == "start" and row.student == pair.student),
    )


def score(inputs: ReportInputs) -> tuple[pd.DataFrame, dict[Place, Sums]]:
    """A row for each evaluated score, with the columns of `schemas.SCORES`; and its items.

    Of what is measured against teachers, a cell has only the scores against its own.
    """
    rows, found, seen = [], {}, set()
    for cell in inputs.grid.itertuples(index=False):
        for key, own in inputs.sums[cell.eval_id].items():
            if key.teacher not in ("", cell.teacher_id):
                continue
            place = (cell.teacher, cell.student, cell.method, cell.seed)
            measured = (key.task, key.slice, key.metric)
            numbers = (own.value, own.error, len(own.weights))
            repeats = (cell.eval_id, key) in seen
            seen.add((cell.eval_id, key))
            rows.append((*place, *measured, *numbers, cell.eval_id, repeats))
            found[Place(*place, *measured)] = own
    _check_same_items(found)
    return pd.DataFrame(rows, columns=schemas.SCORES.names), found


def _check_same_items(found: Mapping[Place, Sums]) -> None:
    seen: dict[tuple[str, ...], dict[int, Place]] = {}
    for place, sums in found.items():
        # a slice may be a teacher's own: the tokens that it finds hard
        under = (place.teacher,) if place.slice else ()
        of_measure = seen.setdefault((place.task, place.slice, place.metric, *under), {})
        of_measure.setdefault(sums.examples, place)
    for measured, by_items in seen.items():
        if len(by_items) > 1:
            counts = {
                " ".join((one.teacher, one.student, one.method, str(one.seed))): (
                    len(found[one].weights)
                )
                for one in by_items.values()
            }
            raise ValueError(
                f"{' '.join(measured)} was not measured on the same items everywhere, so it "
                f"can't be compared (items, by where: {counts}); evaluate again"
            )


def _runs(
    scores: pd.DataFrame,
    found: Mapping[Place, Sums],
    rows: list[Row],
    measures: tuple[Measure, ...],
) -> dict[tuple[Row, Measure], dict[int, Sums]]:
    """The items of each row by training seed."""
    by_cell = {(row.teacher, row.student, row.method): row for row in rows}
    by_score = {(one.task, one.slice, one.metric.name): one for one in measures}
    # An evaluation that stands in the grid under several seeds is still one run.
    kept = scores.drop_duplicates([*CELL, *SCORE, "id"]).sort_values("seed", kind="stable")
    runs: dict[tuple[Row, Measure], dict[int, Sums]] = {}
    for values in kept[[*CELL, "seed", *SCORE]].itertuples(index=False):
        place = Place(*values)
        key = (
            by_cell[place.teacher, place.student, place.method],
            by_score[place.task, place.slice, place.metric],
        )
        runs.setdefault(key, {})[place.seed] = found[place]
    return runs


def best_first(means: Mapping[Row, Mean], measure: Measure) -> list[Row]:
    """The rows by their means."""
    higher = bool(measure.metric.higher_is_better)
    return sorted(means, key=lambda row: means[row].value, reverse=higher)


def mean_over_seeds(seed_values: tuple[float, ...]) -> Mean:
    """The mean and spread of one value a seed."""
    spread = float(np.std(seed_values, ddof=1)) if len(seed_values) > 1 else None
    return Mean(float(np.mean(seed_values)), spread, seed_values)
