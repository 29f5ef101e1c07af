"""Methods ranked over all teachers, students and tasks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results
from pipeline.reporting.analysis.standings import standings
from pipeline.statistics.ranks import (
    FEWEST_BLOCKS,
    cliques,
    critical_difference,
    mean_ranks,
    rank_bounds,
)


@dataclass(frozen=True)
class Ranking:
    """Mean ranks, the best first."""

    methods: tuple[str, ...]  # of methods that every pair has a score of on every task
    measures: tuple[Measure, ...]  # that stand for their tasks
    pairs: int
    ranks: np.ndarray
    best: np.ndarray  # means of the best ranks that the tests leave open
    worst: np.ndarray
    ties: tuple[tuple[int, int], ...]  # first and last of methods within a critical difference
    critical_difference: float | None  # None for too few tasks


def mean_ranking(comparisons: Comparisons) -> Ranking | None:
    """Mean ranks over pairs and tasks; None for fewer than two methods or a single ranking."""
    results = comparisons.results
    measures = _of_tasks(results)
    blocks = [(pair, measure) for measure in measures for pair in results.pairs]
    losses = [_losses(results, pair, measure) for pair, measure in blocks]
    methods = [
        method for method in results.method_names if all(method in of_block for of_block in losses)
    ]
    if len(blocks) < 2 or len(methods) < 2:
        return None
    ranks = mean_ranks(np.array([[of_block[method] for method in methods] for of_block in losses]))
    bounds = [rank_bounds(_worse(comparisons, methods, *block)) for block in blocks]
    best, worst = np.mean(bounds, axis=0)
    order = np.argsort(ranks, kind="stable")
    difference = None
    if len(measures) >= FEWEST_BLOCKS:  # over pairs ranks vary less, so this is rather too large
        difference = critical_difference(len(methods), len(measures))
    ties = cliques(ranks[order].tolist(), difference) if difference else []
    return Ranking(
        tuple(methods[place] for place in order),
        measures,
        len(results.pairs),
        ranks[order],
        best[order],
        worst[order],
        tuple(ties),
        difference,
    )


def _of_tasks(results: Results) -> tuple[Measure, ...]:
    """A measure for each task: the first primary one, else the first that ranks."""
    by_task: dict[str, Measure] = {}
    for measure in (*results.primary_measures, *results.ranked_measures):
        by_task.setdefault(measure.task, measure)
    return tuple(by_task.values())


def _losses(results: Results, pair: Pair, measure: Measure) -> dict[str, float]:
    """The standings of methods by name, with the sign by which lower is better."""
    sign = -1 if measure.metric.higher_is_better else 1
    of_rows = standings(results, pair, measure)
    return {row.method: sign * standing for row, standing in of_rows.items()}


def _worse(
    comparisons: Comparisons, methods: Sequence[str], pair: Pair, measure: Measure
) -> np.ndarray:
    """Whether each method [row] is significantly worse than another [column]."""
    worse = np.zeros((len(methods), len(methods)), dtype=bool)
    for difference in comparisons.differences.get((pair, measure), ()):
        first, second = difference.first.method, difference.second.method
        if difference.significantly_different and {first, second} <= set(methods):
            loser, winner = (first, second) if difference.first_is_worse else (second, first)
            worse[methods.index(loser), methods.index(winner)] = True
    return worse
