"""How far the scores of one report are from those of another, and which of them moved.

A score has moved where the interval of its difference excludes zero. Where both reports have two or
more training seeds in common, the interval is of a paired t-test over these, with the variance of
the differences moderated by those of the other cells; else of Welch's test over the seeds of each;
else, for a single seed, of the items' errors, which takes the two runs for independent and so is
too wide rather than too narrow. Holm's correction is over all cells of a measure, so that at most
one comparison in 20 of equal things finds a move in it.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, variance
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from pipeline.reporting.analysis.findings import Interval
from pipeline.reporting.analysis.item_sums import SCORE
from pipeline.reporting.analysis.load import CELL
from pipeline.reporting.analysis.metrics import Measure, metric_named
from pipeline.reporting.analysis.own_tasks import NO_OWN, OwnMetrics
from pipeline.reporting.analysis.scores import measures_of
from pipeline.statistics.copies import NO_HYPOTHESIS
from pipeline.statistics.seed_variance import moderated
from pipeline.statistics.tests import holm_family

PAIRED, SEEDS, ITEMS = "paired seeds", "seeds", "items"


@dataclass(frozen=True)
class Change:
    """A cell's score in two reports, where they are not equal to the last digit."""

    teacher: str
    student: str
    method: str
    measure: Measure
    before: float
    after: float
    interval: Interval  # of the difference
    basis: str  # what the interval is made from

    @property
    def difference(self) -> float:
        """After minus before."""
        return self.after - self.before

    @property
    def has_moved(self) -> bool:
        """Whether the interval excludes zero."""
        return self.interval.low > 0 or self.interval.high < 0


class Estimate(NamedTuple):
    """A difference with the variance of its mean."""

    before: float
    after: float
    variance: float
    degrees: float
    basis: str


@dataclass(frozen=True)
class ScoreChanges:
    """All scores that both reports have, compared."""

    equal: int
    changes: tuple[Change, ...]  # in the order of the first report

    @property
    def moved(self) -> tuple[Change, ...]:
        """Those beyond their interval."""
        return tuple(change for change in self.changes if change.has_moved)


def compare_scores(
    before: pd.DataFrame, after: pd.DataFrame, own: OwnMetrics = NO_OWN
) -> ScoreChanges:
    """The scores on whole tasks that two reports have in common, each evaluation once."""
    both = _distinct(before).merge(_distinct(after), on=[*CELL, *SCORE], suffixes=("", "_after"))
    # an evaluation that stands under several teachers has this score once
    both = both.loc[~both.duplicated([*SCORE, "id", "id_after", "value", "value_after"])]
    is_equal = both["value"] == both["value_after"]
    changes: list[Change] = []
    known = measures_of(pd.concat([before, after]), own)
    measures = {measure.names: measure for measure in known}
    for names, cells in both[~is_equal].groupby(SCORE, sort=False):
        changes += _tested(measures[names], cells)
    return ScoreChanges(int(is_equal.sum()), tuple(changes))


def _distinct(scores: pd.DataFrame) -> pd.DataFrame:
    """A row for each cell and measure: values, errors and counts by seed."""
    names = scores["metric"].unique()
    relative = [name for name in names if metric_named(name).relative_to_teacher]
    of_itself = (scores["method"] == "teacher") & scores["metric"].isin(relative)  # rounding alone
    whole = scores.loc[(scores["slice"] == "") & ~of_itself]
    whole = whole.loc[~whole.duplicated([*CELL, *SCORE, "id"])]
    columns = ["seed", "value", "stderr", "n", "id"]
    return whole.groupby([*CELL, *SCORE], sort=False)[columns].agg(tuple).reset_index()


def _estimate(row: Mapping[Hashable, Any]) -> Estimate:
    first = dict(zip(row["seed"], row["value"], strict=True))
    second = dict(zip(row["seed_after"], row["value_after"], strict=True))
    if len(common := sorted(first.keys() & second.keys())) > 1:
        paired = [second[seed] - first[seed] for seed in common]
        before, after = (fmean(values[seed] for seed in common) for values in (first, second))
        return Estimate(before, after, variance(paired) / len(common), len(common) - 1, PAIRED)
    before, after = fmean(first.values()), fmean(second.values())
    if min(len(first), len(second)) > 1:
        return Estimate(before, after, *_welch(row["value"], row["value_after"]), SEEDS)
    errors = [fmean(np.square(row[name])) for name in ("stderr", "stderr_after")]
    return Estimate(before, after, sum(errors), min(*row["n"], *row["n_after"]) - 1, ITEMS)


def _welch(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """The variance of a difference of means, and its degrees of freedom."""
    variances = [variance(values) / len(values) for values in (first, second)]
    below = sum(
        of_mean**2 / (len(values) - 1)
        for of_mean, values in zip(variances, (first, second), strict=True)
    )
    total = sum(variances)
    return total, total**2 / below if below else min(len(first), len(second)) - 1


def _tested(measure: Measure, cells: pd.DataFrame) -> Iterator[Change]:
    """The changes of a measure, their intervals corrected for each other."""
    estimates = [_estimate(row) for row in cells.to_dict("records")]
    values = np.array([each.after - each.before for each in estimates])
    variances, degrees = _moderated(estimates)
    errors = np.sqrt(variances)
    # without any scatter, a difference is beyond chance; of a single item nothing is known
    with np.errstate(divide="ignore", invalid="ignore"):
        p_values = 2 * special.stdtr(degrees, -np.abs(values) / errors)
    hypotheses = np.where(np.isnan(p_values), NO_HYPOTHESIS, np.arange(len(values)))
    family = holm_family(p_values, hypotheses)
    half_widths = special.stdtrit(degrees, (1 + family.confidence) / 2) * errors
    largest = measure.metric.largest_difference
    cell = cells[CELL].itertuples(index=False, name=None)
    columns = (cell, estimates, values, half_widths)
    for (teacher, student, method), each, value, half_width in zip(*columns, strict=True):
        interval = Interval(float(value - half_width), float(value + half_width))
        within = interval.clipped_to(-largest, largest)
        about = (teacher, student, method, measure)
        yield Change(*about, each.before, each.after, within, each.basis)


def _moderated(estimates: Sequence[Estimate]) -> tuple[np.ndarray, np.ndarray]:
    """Variances and degrees of freedom: cells that are paired over as many seeds share theirs."""
    variances = np.array([each.variance for each in estimates])
    degrees = np.array([float(each.degrees) for each in estimates])
    is_paired = np.array([each.basis == PAIRED for each in estimates])
    for count in np.unique(degrees[is_paired]):
        alike = np.flatnonzero(is_paired & (degrees == count))
        most = count * len(alike)
        shared = moderated(variances[alike], int(count), most, np.arange(len(alike)))
        variances[alike], degrees[alike] = shared.values, shared.degrees
    return variances, degrees
