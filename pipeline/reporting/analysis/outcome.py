"""What came out, as a few lines of data: the terminal shows them at the end of a run."""

from collections.abc import Mapping
from typing import NotRequired, TypedDict

from pipeline.reporting.analysis.findings import Comparisons
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair
from pipeline.reporting.analysis.standings import ranking
from pipeline.reporting.analysis.verdict import not_worse_than_best, verdicts

FILE = "outcome.json"


class Best(TypedDict):
    """The best method of a teacher and student on a measure."""

    method: str
    value: str
    tied: int  # other methods that are not significantly worse; -1: they were not compared
    is_best: bool  # of all pairs of teacher and student


class PairOutcome(TypedDict):
    """The best methods of a teacher and student, one for each primary measure."""

    pair: str
    best: list[Best | None]


class Times(TypedDict):
    """How long the trainings of methods took under an account."""

    account: str
    seconds: Mapping[str, str]


class Outcome(TypedDict):
    """The outcome of an experiment."""

    measures: list[str]
    pairs: list[PairOutcome]
    verdicts: list[str]
    times: NotRequired[list[Times]]


def outcome(comparisons: Comparisons, times: Mapping[str, Mapping[str, str]]) -> Outcome:
    """The best methods of each teacher and student, and what the tests say of them."""
    results = comparisons.results
    measures = results.primary_measures
    return {
        "measures": [measure.heading for measure in measures],
        "pairs": [
            {
                "pair": pair.short_title,
                "best": [_best(comparisons, pair, measure) for measure in measures],
            }
            for pair in results.pairs
        ],
        "verdicts": [
            f"{verdict.measure.metric.title}: {verdict.text}" for verdict in verdicts(comparisons)
        ],
        "times": [{"account": account, "seconds": times[account]} for account in times],
    }


def _best(comparisons: Comparisons, pair: Pair, measure: Measure) -> Best | None:
    results = comparisons.results
    if not (ranked := ranking(results, pair, measure)):
        return None
    value = results.means[ranked[0], measure].value
    ranked_first = (ranking(results, each, measure)[:1] for each in results.pairs)
    of_pairs = [results.means[row, measure].value for rows in ranked_first for row in rows]
    best = max if measure.metric.higher_is_better else min
    differences = comparisons.differences.get((pair, measure), ())
    # rows that score the same everywhere are copies: no test is needed
    is_compared = any(each.is_copy or each.adjusted_p_value is not None for each in differences)
    leaders = not_worse_than_best(comparisons, pair, measure)
    return {
        "method": ranked[0].method,
        "value": measure.format(value),
        "tied": len(leaders) - 1 if is_compared else -1,
        "is_best": value == best(of_pairs),
    }
