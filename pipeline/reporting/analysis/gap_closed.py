"""Share of the gap between plain fine-tuning and the teacher that each method closes."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from pipeline.methods.method import Method
from pipeline.reporting.analysis.findings import GapClosed, Interval
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.statistics.items import Contributions
from pipeline.statistics.ratio import ratios


def baseline_of(methods: Mapping[str, Method]) -> str:
    """Name of the first method whose recipe is plain fine-tuning; empty if there is none."""
    plain = (
        name
        for name, method in methods.items()
        if (method.loss, method.text, method.teacher) == ("cross_entropy", "gold", "none")
        and not method.generates_text
        and not method.relabelling_stages
    )
    return next(plain, "")


def baseline_label(results: Results, methods: Mapping[str, Method]) -> str:
    """The baseline's label in the report; empty if it was not trained."""
    baseline = baseline_of(methods)
    return next((row.label for row in results.trained if row.method == baseline), "")


def gaps_closed(results: Results, methods: Mapping[str, Method]) -> Iterator[GapClosed]:
    """Every method's share on every measure that doesn't already compare with the teacher."""
    baseline = baseline_of(methods)
    for pair in results.pairs:
        for measure in results.ranked_measures:
            if results.is_held_against_teacher(pair, measure):
                yield from _of_pair(results, pair, measure, baseline)


def _of_pair(results: Results, pair: Pair, measure: Measure, baseline: str) -> Iterator[GapClosed]:
    """Shares of each set of methods that share the same seeds with the baseline."""
    seeds_of = results.seeds_by_row(results.methods[pair], measure)
    plain = next((row for row in seeds_of if row.method == baseline), None)
    teacher = next(iter(results.seeds_by_row(results.teachers(pair), measure)), None)
    if plain is None or teacher is None:
        return
    first_seed = next(iter(results.runs[teacher, measure]))
    of_teacher = results.contributions([teacher], [first_seed], measure)
    by_seeds: dict[tuple[int, ...], list[Row]] = {}
    for row, seeds in seeds_of.items():
        common = tuple(sorted(seeds & seeds_of[plain]))
        if row != plain and common:
            by_seeds.setdefault(common, []).append(row)
    for common, rows in by_seeds.items():
        items = results.contributions([plain, *rows], common, measure)
        if items.influences.shape[-1] > 1:
            yield from _shares(rows, items, of_teacher, measure)


def _shares(
    rows: Sequence[Row], items: Contributions, teacher: Contributions, measure: Measure
) -> Iterator[GapClosed]:
    """Shares of the gap, none where the teacher may be no better; `items` begins with the baseline.

    A share is a ratio of two differences: a method's gain over the baseline, and the teacher's.
    """
    scores = _gains(items.scores, teacher.scores)
    influences = _gains(items.influences, teacher.influences)
    sign = 1 if measure.metric.higher_is_better else -1
    gaps = sign * scores[:, 1].mean(axis=1)
    for row, gap, share in zip(rows, gaps, ratios(scores, influences), strict=True):
        if share and gap > 0:
            interval = Interval(share.low, share.high)
            yield GapClosed(measure, row, share.value, interval, scores.shape[2])


def _gains(of_methods: np.ndarray, of_teacher: np.ndarray) -> np.ndarray:
    """Gains over the first method, of each other one and of the teacher: [methods, 2, seeds, …]."""
    gained = of_methods[1:] - of_methods[:1]
    gap = np.broadcast_to(of_teacher - of_methods[:1], gained.shape)
    return np.stack([gained, gap], axis=1)
