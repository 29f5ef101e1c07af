"""What the methods of a teacher and student are ranked by, also where some lack a training seed."""

import pandas as pd

from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.statistics.seed_means import balanced_means


def standings(results: Results, pair: Pair, measure: Measure) -> dict[Row, float]:
    """The means of a pair's methods, as if all of them had the same training seeds."""
    means = results.means_by_row(results.methods.get(pair, ()), measure)
    if not has_unequal_seeds(results, pair, measure):
        return {row: mean.value for row, mean in means.items()}
    scores = pd.DataFrame(results.values_by_seed(row, measure) for row in means)
    return dict(zip(means, balanced_means(scores.to_numpy()).tolist(), strict=True))


def has_unequal_seeds(results: Results, pair: Pair, measure: Measure) -> bool:
    """Whether a method of a pair lacks a training seed that another one has."""
    rows = results.means_by_row(results.methods.get(pair, ()), measure)
    return len({frozenset(results.runs[row, measure]) for row in rows}) > 1


def is_balanced(results: Results) -> bool:
    """Whether the methods of each pair have the same training seeds, on every ranked measure."""
    return not any(
        has_unequal_seeds(results, pair, measure)
        for pair in results.pairs
        for measure in results.ranked_measures
    )


def ranking(results: Results, pair: Pair, measure: Measure) -> list[Row]:
    """The methods of a pair that were measured, the best first."""
    of_rows, higher = standings(results, pair, measure), bool(measure.metric.higher_is_better)
    return sorted(of_rows, key=lambda row: of_rows[row], reverse=higher)


def best_rows(results: Results, pair: Pair, measure: Measure) -> set[Row]:
    """The best of several methods, those that tie; none on a measure that ranks nothing."""
    of_rows = standings(results, pair, measure)
    if len(of_rows) < 2 or measure not in results.ranked_measures:
        return set()
    best = (max if measure.metric.higher_is_better else min)(of_rows.values())
    return {row for row, standing in of_rows.items() if standing == best}
