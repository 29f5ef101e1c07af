"""What came out, as a few lines of data: the terminal shows them at the end of a run."""

from collections.abc import Iterator
from typing import TypedDict

from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, best_first
from pipeline.reporting.analysis.verdict import not_worse_than_best, verdicts

FILE = "outcome.json"


class Best(TypedDict):
    """The best method of a teacher and student on a measure."""

    method: str
    value: str
    tied: int  # other methods that are not significantly worse; -1: no test compares them
    is_best: bool  # of all pairs of teacher and student


class PairOutcome(TypedDict):
    """The best methods of a teacher and student, one for each primary measure."""

    pair: str
    best: list[Best | None]


class Outcome(TypedDict):
    """The outcome of an experiment."""

    measures: list[str]
    pairs: list[PairOutcome]
    verdicts: list[str]


def outcome(results: Results, comparisons: Comparisons) -> Outcome:
    """The best methods of each teacher and student, and what the tests say of them."""
    measures = results.primary_measures
    highest = {measure: _best_value(results, measure) for measure in measures}
    return {
        "measures": [measure.heading for measure in measures],
        "pairs": [
            {
                "pair": f"{pair.teacher} → {pair.student}",
                "best": [
                    _best(results, comparisons, pair, measure, highest[measure])
                    for measure in measures
                ],
            }
            for pair in results.pairs
        ],
        "verdicts": [
            f"{verdict.measure.metric.title}: {verdict.text}"
            for verdict in verdicts(results, comparisons)
        ],
    }


def _best_value(results: Results, measure: Measure) -> float | None:
    """The best mean of all pairs."""
    values = list(_best_values(results, measure))
    return (max if measure.metric.higher_is_better else min)(values, default=None)


def _best_values(results: Results, measure: Measure) -> Iterator[float]:
    for rows in results.methods.values():
        means = results.means_by_row(rows, measure)
        yield from (means[row].value for row in best_first(means, measure)[:1])


def _best(
    results: Results,
    comparisons: Comparisons,
    pair: Pair,
    measure: Measure,
    highest: float | None,
) -> Best | None:
    means = results.means_by_row(results.methods[pair], measure)
    if not means:
        return None
    row = best_first(means, measure)[0]
    leaders = not_worse_than_best(results, comparisons, pair, measure)
    is_tested = (pair, measure) in comparisons.detectable
    return {
        "method": row.label,
        "value": measure.format(means[row].value),
        "tied": len(leaders) - 1 if is_tested else -1,
        "is_best": means[row].value == highest,
    }
