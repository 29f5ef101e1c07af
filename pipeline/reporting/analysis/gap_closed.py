"""Share of the gap between plain fine-tuning and the teacher that each method closes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.methods.method import Method
from pipeline.reporting.analysis.findings import GapClosed, Interval
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.statistics.items import Contributions
from pipeline.statistics.ratio import ratios


@dataclass(frozen=True)
class GapComponents:
    """Each method's gain over the baseline, and the teacher's: the ratio's two differences."""

    rows: tuple[Row, ...]
    scores: np.ndarray  # [methods, 2, seeds]
    influences: np.ndarray  # [methods, 2, seeds, items]


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
    rows = (row for pair in results.pairs for row in results.methods[pair])
    return next((row.label for row in rows if row.method == baseline), "")


def gaps_closed(results: Results, methods: Mapping[str, Method]) -> Iterator[GapClosed]:
    """Every method's share on every measure that doesn't already compare with the teacher."""
    baseline = baseline_of(methods)
    for pair in results.pairs:
        for measure in results.ranked_measures:
            if not measure.metric.relative_to_teacher:
                for components in _gap_components(results, pair, measure, baseline):
                    yield from _shares(components, measure)


def _gap_components(
    results: Results, pair: Pair, measure: Measure, baseline: str
) -> Iterator[GapComponents]:
    """Gains over the baseline, for each set of methods that share the same seeds with it."""
    seeds_of = results.seeds_by_row(results.methods[pair], measure)
    baseline_row = next((row for row in seeds_of if row.method == baseline), None)
    teachers = [row for row in results.references[pair] if row.kind == "teacher"]
    teacher = next(iter(results.seeds_by_row(teachers, measure)), None)
    if baseline_row is None or teacher is None:
        return
    first_seed = next(iter(results.runs[teacher, measure]))
    of_teacher = results.contributions([teacher], [first_seed], measure)
    by_seeds: dict[tuple[int, ...], list[Row]] = {}
    for row, seeds in seeds_of.items():
        common = tuple(sorted(seeds & seeds_of[baseline_row]))
        if row != baseline_row and common:
            by_seeds.setdefault(common, []).append(row)
    for common, rows in by_seeds.items():
        items = results.contributions([baseline_row, *rows], common, measure)
        if items.influences.shape[-1] > 1:
            yield _over_baseline(rows, items, of_teacher)


def _over_baseline(
    rows: Sequence[Row], items: Contributions, teacher: Contributions
) -> GapComponents:
    """The components; the first row of `items` is the baseline."""

    def gains(of_methods: np.ndarray, of_teacher: np.ndarray) -> np.ndarray:
        gained = of_methods[1:] - of_methods[:1]
        gap = np.broadcast_to(of_teacher - of_methods[:1], gained.shape)
        return np.stack([gained, gap], axis=1)

    return GapComponents(
        tuple(rows),
        gains(items.scores, teacher.scores),
        gains(items.influences, teacher.influences),
    )


def _shares(components: GapComponents, measure: Measure) -> Iterator[GapClosed]:
    """Shares of the gap; nothing where the teacher may be no better than the baseline."""
    sign = 1 if measure.metric.higher_is_better else -1
    seed_count = components.scores.shape[2]
    gaps = sign * components.scores[:, 1].mean(axis=1)
    shares = ratios(components.scores, components.influences)
    for row, gap, share in zip(components.rows, gaps, shares, strict=True):
        if share and gap > 0:
            interval = Interval(share.low, share.high)
            yield GapClosed(measure, row, share.value, interval, seed_count)
