"""Scores from items, and means over training seeds from scores."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import pandas as pd

from pipeline.artifacts import schemas
from pipeline.reporting.analysis.item_sums import SCORE, ItemMatrix, ScoreKey, item_matrices
from pipeline.reporting.analysis.load import CELL, ReportInputs
from pipeline.reporting.analysis.metrics import PER_TOKEN, Measure, column_order, metric_named
from pipeline.reporting.analysis.own_tasks import NO_OWN, OwnMetrics, metrics_of
from pipeline.reporting.analysis.texts import amount
from pipeline.statistics.items import Contributions, contributions


@dataclass(frozen=True)
class Pair:
    """A student under a teacher: methods are compared within a pair."""

    teacher: str
    student: str

    @property
    def short_title(self) -> str:
        """The teacher and the student where space is short."""
        return f"{self.teacher} → {self.student}"


@dataclass(frozen=True)
class Row:
    """A row of the main table: a method for a pair, or one of its references."""

    kind: str
    teacher: str
    student: str
    method: str

    @property
    def pair(self) -> Pair:
        """Its teacher and student."""
        return Pair(self.teacher, self.student)

    @property
    def cell(self) -> tuple[str, str, str]:
        """What distinguishes it from other rows."""
        return (self.teacher, self.student, self.method)

    @property
    def columns(self) -> dict[str, str]:
        """The columns of a machine-readable table that say whose number it is."""
        names = {"teacher": self.teacher, "student": self.student}
        return {**names, "method": self.method, "label": self.method}


Rows = TypeVar("Rows", bound=tuple[Row, ...])


@dataclass(frozen=True)
class Mean:
    """A mean over training seeds."""

    value: float
    spread: float | None  # sample standard deviation over seeds; None for a single one
    seed_values: tuple[float, ...]

    @property
    def seed_count(self) -> int:
        """The number of training seeds."""
        return len(self.seed_values)


@dataclass(frozen=True)
class Results:
    """All scores, with the rows, pairs and measures of the tables."""

    scores: pd.DataFrame  # columns of `schemas.SCORES`
    measures: tuple[Measure, ...]  # of whole tasks
    slice_measures: tuple[Measure, ...]
    pairs: tuple[Pair, ...]
    references: Mapping[Pair, tuple[Row, ...]]
    methods: Mapping[Pair, tuple[Row, ...]]
    means: Mapping[tuple[Row, Measure], Mean]
    runs: Mapping[tuple[Row, Measure], Mapping[int, str]]  # evaluation ids by training seed
    items: Mapping[ScoreKey, ItemMatrix]
    primary: tuple[str, ...] = ()  # keys of the measures that the configuration shows first
    sizes: Mapping[str, int] = field(default_factory=dict)  # parameters by a teacher's name
    student_sizes: Mapping[str, int] = field(default_factory=dict)  # the same by a student's
    foreign: Collection[str] = ()  # teachers of another vocabulary

    def sized_teacher(self, name: str) -> str:
        """A teacher's name with its number of parameters."""
        return _sized(name, self.sizes)

    def sized_student(self, name: str) -> str:
        """A student's name, which a teacher may have, too, with its number of parameters."""
        return _sized(name, self.student_sizes)

    def title(self, pair: Pair) -> str:
        """The teacher and the student with their numbers of parameters."""
        teacher, student = self.sized_teacher(pair.teacher), self.sized_student(pair.student)
        return f"Teacher {teacher}, student {student}"

    def rows(self, pair: Pair) -> tuple[Row, ...]:
        """The rows of a pair: its references, then its methods."""
        return (*self.references[pair], *self.methods[pair])

    @property
    def trained(self) -> tuple[Row, ...]:
        """The methods of all pairs."""
        return tuple(row for pair in self.pairs for row in self.methods[pair])

    def teachers(self, pair: Pair) -> tuple[Row, ...]:
        """The teacher's own row, where it was evaluated."""
        return tuple(row for row in self.references[pair] if row.kind == "teacher")

    def is_held_against_teacher(self, pair: Pair, measure: Measure) -> bool:
        """Whether a student's value on a measure can be compared with its teacher's own."""
        is_relative = measure.metric.relative_to_teacher
        return not (is_relative or self.is_over_other_tokens(pair.teacher, measure))

    def is_over_other_tokens(self, teacher: str, measure: Measure) -> bool:
        """Whether a teacher's own value is a mean over tokens of another vocabulary."""
        return measure.metric.name in PER_TOKEN and teacher in self.foreign

    @property
    def method_names(self) -> tuple[str, ...]:
        """The methods' names, in the order of the grid."""
        return tuple(dict.fromkeys(row.method for row in self.trained))

    @property
    def ranked_measures(self) -> tuple[Measure, ...]:
        """The measures with a better direction, by which methods are ranked."""
        return tuple(
            measure for measure in self.measures if measure.metric.higher_is_better is not None
        )

    @property
    def primary_measures(self) -> tuple[Measure, ...]:
        """Those that sum a method up, as far as they were measured: of the configuration's choice.

        By default held-out NLL, KL to the teacher, and the first score of another task.
        """
        ranked = self.ranked_measures
        by_key = {measure.key: measure for measure in ranked}
        if chosen := tuple(by_key[key] for key in self.primary if key in by_key):
            return chosen
        absolute = [measure for measure in ranked if not measure.metric.relative_to_teacher]
        relative = [measure for measure in ranked if measure.metric.relative_to_teacher]
        elsewhere = [measure for measure in absolute if measure.task != absolute[0].task]
        return (*absolute[:1], *relative[:1], *elsewhere[:1])

    def means_by_row(self, rows: Iterable[Row], measure: Measure) -> dict[Row, Mean]:
        """The means on a measure of those of `rows` that have one."""
        return {row: self.means[row, measure] for row in rows if (row, measure) in self.means}

    def values_by_seed(self, row: Row, measure: Measure) -> dict[int, float]:
        """A row's value for each training seed that has one."""
        values = self.means[row, measure].seed_values
        return dict(zip(self.runs[row, measure], values, strict=True))

    def seeds(self, rows: Iterable[Row], measures: Sequence[Measure]) -> tuple[int, ...]:
        """The training seeds with which every one of `rows` was scored on every measure."""
        runs = [set(self.runs.get((row, measure), ())) for row in rows for measure in measures]
        return tuple(sorted(set.intersection(*runs))) if runs else ()

    def by_seeds(
        self, compared: Iterable[Rows], measure: Measure
    ) -> dict[tuple[int, ...], list[Rows]]:
        """Rows to compare, by the seeds that all of them have; without those that share none."""
        by_seeds: dict[tuple[int, ...], list[Rows]] = {}
        for rows in compared:
            varying = [row for row in rows if not self._is_constant(row, measure)]
            if seeds := self.seeds(varying or rows, [measure]):
                by_seeds.setdefault(seeds, []).append(rows)
        return by_seeds

    def _is_constant(self, row: Row, measure: Measure) -> bool:
        """Whether a row is the same model for every seed: a reference with a single run."""
        return row.kind != "method" and len(self.runs.get((row, measure), ())) == 1

    def matrix(self, row: Row, measure: Measure) -> ItemMatrix:
        """The items of all evaluations that a row's are among."""
        return self.items[row.teacher, *measure.names]

    def contributions(
        self, rows: Sequence[Row], seeds: Sequence[int], measure: Measure
    ) -> Contributions:
        """Contributions of items to the scores of rows and seeds: arrays [rows, seeds, items]."""
        weighted, weights = [], []
        for row in rows:
            matrix = self.matrix(row, measure)
            runs = self.runs[row, measure]
            if self._is_constant(row, measure):
                runs = dict.fromkeys(seeds, *runs.values())
            positions = matrix.evaluations.get_indexer([runs[seed] for seed in seeds])
            weighted.append(matrix.weighted[positions])
            weights.append(matrix.weights[positions])
        return contributions(np.stack(weighted), np.stack(weights))


def _sized(name: str, sizes: Mapping[str, int]) -> str:
    return f"{name} ({amount(sizes[name])})" if name in sizes else name


def assemble(inputs: ReportInputs, primary: tuple[str, ...] = ()) -> Results:
    """All results that tables, plots and page show."""
    items = item_matrices(inputs.grid, inputs.item_sums)
    scores = score(inputs.grid, items)
    measures = measures_of(scores, metrics_of(inputs.manifests))
    rows = _rows(inputs.grid)
    trained = [row for row in rows if row.kind == "method"]
    pairs = tuple(dict.fromkeys(row.pair for row in trained))
    runs, means = _over_seeds(scores, rows, measures)
    return Results(
        scores=scores,
        measures=tuple(measure for measure in measures if not measure.slice),
        slice_measures=tuple(measure for measure in measures if measure.slice),
        pairs=pairs,
        references={pair: _references(rows, pair) for pair in pairs},
        methods={pair: tuple(row for row in trained if row.pair == pair) for pair in pairs},
        means=means,
        runs=runs,
        items=items,
        primary=primary,
        sizes=inputs.sizes,
        student_sizes=inputs.student_sizes,
        foreign=frozenset(inputs.alignments),
    )


def score(grid: pd.DataFrame, items: Mapping[ScoreKey, ItemMatrix]) -> pd.DataFrame:
    """A row for each cell and score, in the order of the grid: columns of `schemas.SCORES`."""
    scores = pd.concat(
        matrix.scores().assign(teacher=teacher, task=task, slice=part, metric=metric)
        for (teacher, task, part, metric), matrix in items.items()
    )
    cells = grid[[*CELL, "seed", "eval_id"]].merge(scores, on=["teacher", "eval_id"])
    cells["repeats"] = cells.duplicated(["eval_id", *SCORE, "reference"])
    return cells.rename(columns={"eval_id": "id"}).loc[:, schemas.SCORES.names]


def measures_of(scores: pd.DataFrame, own: OwnMetrics = NO_OWN) -> tuple[Measure, ...]:
    """The measures in a table of scores (`schemas.SCORES`), in the order of the columns."""
    highest = scores.groupby(["task", "metric"])["value"].agg("max").to_dict()
    scored = set(scores[["task", "slice", "metric"]].itertuples(index=False, name=None))
    return tuple(
        Measure(task, metric_named(name, own.get(task)).on_scale_of(highest[task, name]), part)
        for task, part, name in sorted(scored, key=lambda key: column_order(*key))
    )


def _over_seeds(
    scores: pd.DataFrame, rows: Iterable[Row], measures: Iterable[Measure]
) -> tuple[dict[tuple[Row, Measure], dict[int, str]], dict[tuple[Row, Measure], Mean]]:
    """Evaluations by seed, and their mean, of each row and measure."""
    row_of = {row.cell: row for row in rows}
    measure_of = {measure.names: measure for measure in measures}
    # an evaluation that is in the grid under several seeds is one run
    distinct = scores.drop_duplicates([*CELL, *SCORE, "id"]).sort_values("seed", kind="stable")
    lists = distinct.groupby([*CELL, *SCORE], sort=False)[["seed", "id", "value"]].agg(list)
    runs, means = {}, {}
    for *names, seeds, ids, values in lists.reset_index().itertuples(index=False, name=None):
        key = row_of[tuple(names[:3])], measure_of[tuple(names[3:])]
        runs[key], means[key] = dict(zip(seeds, ids, strict=True)), mean_over_seeds(tuple(values))
    return runs, means


def _rows(grid: pd.DataFrame) -> list[Row]:
    """Every row that the main table may have."""
    cells = grid[["kind", *CELL]].drop_duplicates()
    return [Row(*cell) for cell in cells.itertuples(index=False, name=None)]


def _references(rows: Sequence[Row], pair: Pair) -> tuple[Row, ...]:
    """The teacher, the untrained student and the start of a pair, as far as there are any."""
    teachers = [row for row in rows if row.kind == "teacher" and row.teacher == pair.teacher]
    kinds = ("untrained", "start")
    others = [row for kind in kinds for row in rows if row.kind == kind and row.pair == pair]
    return (*teachers, *others)


def mean_over_seeds(seed_values: tuple[float, ...]) -> Mean:
    """The mean and spread of one value per seed."""
    spread = float(np.std(seed_values, ddof=1)) if len(seed_values) > 1 else None
    return Mean(float(np.mean(seed_values)), spread, seed_values)
