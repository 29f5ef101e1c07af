"""Scores from items, and means over seeds from scores."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline import schemas
from pipeline.reporting.inputs import Inputs
from pipeline.reporting.metrics import Measure, measures_of

CELL = ["teacher", "student", "method"]
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
class Mean:
    """A mean over training seeds."""

    value: float
    spread: float | None  # sample standard deviation over seeds; None for a single one
    points: tuple[float, ...]  # a value for each seed

    @property
    def runs(self) -> int:
        """How many trainings it is a mean of."""
        return len(self.points)


@dataclass(frozen=True)
class Results:
    """All scores, and how to walk through them."""

    scores: pd.DataFrame
    measures: tuple[Measure, ...]  # of whole tasks
    sliced: tuple[Measure, ...]  # of parts of them
    pairs: tuple[Pair, ...]
    references: Mapping[Pair, tuple[Row, ...]]
    methods: Mapping[Pair, tuple[Row, ...]]
    means: Mapping[tuple[Row, Measure], Mean]

    @property
    def labels(self) -> tuple[str, ...]:
        """The methods as they are shown, in the order of the grid."""
        return tuple(dict.fromkeys(row.label for pair in self.pairs for row in self.methods[pair]))

    @property
    def judged(self) -> tuple[Measure, ...]:
        """The measures that somebody can be best at."""
        return tuple(one for one in self.measures if one.metric.higher_is_better is not None)

    def found(self, rows: tuple[Row, ...], measure: Measure) -> dict[Row, Mean]:
        """The means of those of `rows` that were measured."""
        return {row: self.means[row, measure] for row in rows if (row, measure) in self.means}


def assemble(inputs: Inputs, titles: Mapping[str, str]) -> Results:
    """Everything that tables, plots and page are made of."""
    scores = score(inputs)
    grid = inputs.grid
    scored = scores[SCORE].drop_duplicates().itertuples(index=False, name=None)
    measures = measures_of(set(scored), titles)
    trained = grid[grid["kind"] == "method"]
    cells = zip(trained["teacher"], trained["student"], strict=True)
    pairs = tuple(Pair(*names) for names in dict.fromkeys(cells))

    rows = _rows(grid)
    return Results(
        scores=scores,
        measures=tuple(one for one in measures if not one.slice),
        sliced=tuple(one for one in measures if one.slice),
        pairs=pairs,
        references={pair: _references(rows, pair) for pair in pairs},
        methods={pair: _methods(rows, pair) for pair in pairs},
        means=_means(scores, rows, measures),
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


def score(inputs: Inputs) -> pd.DataFrame:
    """A row for each evaluated score, with the columns of `schemas.SCORES`.

    Of what is measured against teachers, a cell has only the scores against its own.
    """
    estimates = {id: _estimates(items, id) for id, items in inputs.items.items()}
    parts = []
    for cell in inputs.grid.itertuples(index=False):
        own = estimates[cell.eval_id]
        own = own[own["compared"].isin(["", cell.teacher_id])]
        place = {name: getattr(cell, name) for name in (*CELL, "seed")}
        parts.append(own.assign(**place, id=cell.eval_id))
    scores = pd.concat(parts, ignore_index=True)
    _check_same_items(scores)
    return scores[schemas.SCORES.names]


def _estimates(items: pd.DataFrame, id: str) -> pd.DataFrame:
    """The weighted mean of each measure, one row for each teacher it is relative to."""
    place = f"evals/{id}/items.parquet"
    if items.empty:
        raise ValueError(f"{place} has no items; evaluate again")
    if not np.isfinite(items[["value", "weight"]].to_numpy()).all():
        raise ValueError(f"{place} has a value or weight that is no finite number")
    if (twice := items.duplicated([*SCORE, "teacher", "example_id", "decoding_seed"])).any():
        raise ValueError(f"{place} has an item twice: {items.loc[twice, 'example_id'].iloc[0]!r}")

    found = []
    for (task, part, metric, teacher), rows in items.groupby([*SCORE, "teacher"]):
        weights = rows["weight"].to_numpy()
        if (weights < 0).any() or not weights.sum() > 0:
            raise ValueError(f"{place}: the weights of {task} {part} {metric} sum to nothing")
        value, error = weighted_mean(rows["value"].to_numpy(), weights, rows["example_id"])
        examples = frozenset(rows["example_id"])
        row = (task, part, metric, teacher, value, error, len(examples), hash(examples))
        found.append(row)
    names = [*SCORE, "compared", "value", "stderr", "n", "examples"]
    return pd.DataFrame(found, columns=names)


def weighted_mean(values: np.ndarray, weights: np.ndarray, items: pd.Series) -> tuple[float, float]:
    """Σ w v / Σ w, and its standard error as a ratio of two sums over sampled items.

    Values of one item, say of several decoding seeds, count as one draw. The error is NaN for a
    single item.
    """
    mean = float((weights * values).sum() / weights.sum())
    places = pd.factorize(items)[0]
    n = places.max() + 1
    if n == 1:
        return mean, float("nan")
    # both sums vary: deviations from the ratio
    deviations = np.bincount(places, weights=weights * (values - mean))
    return mean, float(np.sqrt(n / (n - 1) * (deviations**2).sum()) / weights.sum())


def _check_same_items(scores: pd.DataFrame) -> None:
    for (task, part, metric), rows in scores.groupby(SCORE):
        if rows["examples"].nunique() > 1:
            counts = rows.groupby("n")["id"].first().to_dict()
            raise ValueError(
                f"{task} {part} {metric} was not measured on the same items everywhere, so it "
                f"can't be compared (items and where: {counts}); evaluate again"
            )


def _means(
    scores: pd.DataFrame, rows: list[Row], measures: tuple[Measure, ...]
) -> dict[tuple[Row, Measure], Mean]:
    by_cell = {(row.teacher, row.student, row.method): row for row in rows}
    by_score = {(one.task, one.slice, one.metric.name): one for one in measures}
    # An evaluation that stands in the grid under several seeds is still one run.
    runs = scores.drop_duplicates([*CELL, *SCORE, "id"]).sort_values("seed", kind="stable")
    return {
        (by_cell[key[:3]], by_score[key[3:]]): mean_of(tuple(group.tolist()))
        for key, group in runs.groupby([*CELL, *SCORE])["value"]
    }


def mean_of(points: tuple[float, ...]) -> Mean:
    """The mean and spread of one value a seed."""
    spread = float(np.std(points, ddof=1)) if len(points) > 1 else None
    return Mean(float(np.mean(points)), spread, points)


def alike(means: Mapping[Row, Mean], *, higher_is_better: bool) -> tuple[Row, ...]:
    """The best row, then those that differ from it by no more than the larger of two spreads.

    Ordered by score. Without any spread only the best is left.
    """
    ordered = sorted(means, key=lambda row: means[row].value, reverse=higher_is_better)
    best = means[ordered[0]]
    return tuple(
        row
        for row in ordered
        if abs(means[row].value - best.value) <= max(best.spread or 0, means[row].spread or 0)
    )
