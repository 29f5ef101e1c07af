"""Share of the gap between plain fine-tuning and the teacher that each method closes."""

from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np

from pipeline.methods.method import Method
from pipeline.reporting.analysis.findings import GapClosed, Interval
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results
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


def gaps_closed(results: Results, baseline: str) -> Iterator[GapClosed]:
    """Every method's share on every measure that doesn't already compare with the teacher."""
    for pair in results.pairs:
        for measure in results.ranked_measures:
            if results.is_held_against_teacher(pair, measure):
                yield from _of_pair(results, pair, measure, baseline)


def _of_pair(results: Results, pair: Pair, measure: Measure, baseline: str) -> Iterator[GapClosed]:
    """Shares of the gap, none where the teacher may be no better.

    A share is a ratio of two differences: a method's gain over the baseline, and the teacher's.
    """
    every = product(results.methods[pair], results.methods[pair], results.teachers(pair))
    compared = (rows for rows in every if rows[0].method == baseline != rows[1].method)
    for seeds, rows in results.by_seeds(compared, measure).items():
        plain, method, teacher = (
            results.contributions(side, seeds, measure) for side in zip(*rows, strict=True)
        )
        if plain.influences.shape[-1] < 2:
            continue
        # gains over the baseline, of each method and of the teacher: [methods, 2, seeds, …]
        scores, influences = (
            np.stack([of_method - of_plain, of_teacher - of_plain], axis=1)
            for of_plain, of_method, of_teacher in (
                (plain.scores, method.scores, teacher.scores),
                (plain.influences, method.influences, teacher.influences),
            )
        )
        gaps = (1 if measure.metric.higher_is_better else -1) * scores[:, 1].mean(axis=1)
        for (_, row, _), gap, share in zip(rows, gaps, ratios(scores, influences), strict=True):
            if share and gap > 0:
                interval = Interval(share.low, share.high)
                yield GapClosed(measure, row, share.value, interval, len(seeds))
