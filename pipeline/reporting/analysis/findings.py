"""Results of comparing the methods: intervals, differences, contrasts, detectable differences."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.statistics.tests import ALPHA


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval."""

    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of the interval's width, shown after ±."""
        return (self.high - self.low) / 2

    def negated(self) -> "Interval":
        """The interval of the same value with the other sign."""
        return Interval(-self.high, -self.low)

    def clipped_to(self, lowest: float, highest: float) -> "Interval":
        """The part between two bounds; as the truth can't lie beyond them, coverage stays."""
        return Interval(max(self.low, lowest), min(self.high, highest))

    def is_symmetric_around(self, value: float) -> bool:
        """Whether `value` is the middle, so that ± describes the interval fully."""
        return math.isclose(self.high - value, value - self.low, rel_tol=1e-6, abs_tol=1e-12)


def mean_interval(measure: Measure, mean: float, half_width: float) -> Interval:
    """The interval around a mean, clipped to the measure's scale.

    Rounding may leave a mean beyond the scale, such as a teacher's KL to itself below zero.
    """
    lowest, highest = measure.metric.bounds
    interval = Interval(mean - half_width, mean + half_width)
    return interval.clipped_to(min(lowest, mean), max(highest, mean))


def interval_within(
    largest: float, value: float, half_width: float, *, contains_zero: bool = False
) -> Interval:
    """The interval around a difference between -largest and largest; extended to zero if asked.

    It contains zero where the test found no difference: with one training seed the test over items
    may be stricter than the interval.
    """
    low, high = value - half_width, value + half_width
    if contains_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    return Interval(low, high).clipped_to(-largest, largest)


@dataclass(frozen=True, kw_only=True)
class Tested:
    """A value on a measure that may be zero in truth, with its test in a family."""

    measure: Measure
    value: float
    interval: Interval  # agrees with the test after Holm; of a single one if not tested
    uncorrected: Interval  # of this one alone
    standard_error: float
    p_value: float
    adjusted_p_value: float | None  # Holm's; None for what is not tested
    seed_count: int  # with one, the claim is of these checkpoints only
    item_count: int

    @property
    def significantly_different(self) -> bool:
        """Whether the report claims that the value is not zero."""
        return self.adjusted_p_value is not None and self.adjusted_p_value < ALPHA


@dataclass(frozen=True, kw_only=True)
class Difference(Tested):
    """The difference `first` − `second` of two rows on a measure, on equal seeds and items.

    Copies are not tested, nor are rows of one seed where others have more.
    """

    first: Row
    second: Row
    is_copy: bool  # practically the same row twice: no evidence about other methods
    degrees_of_freedom: float
    effect_size: float | None  # in standard deviations of the items' differences
    checkpoint_p_value: float  # of sign flips over items, taking these checkpoints as given

    def swapped(self) -> "Difference":
        """The same comparison as `second` − `first`."""
        return replace(
            self,
            first=self.second,
            second=self.first,
            value=-self.value,
            interval=self.interval.negated(),
            uncorrected=self.uncorrected.negated(),
            effect_size=None if self.effect_size is None else -self.effect_size,
        )

    @property
    def why_no_claim(self) -> str:
        """Why the report doesn't claim that they differ; empty where it does."""
        if self.is_copy:
            return "copies"
        if self.adjusted_p_value is None:
            return "not tested"
        return "" if self.significantly_different else "no significant difference"

    @property
    def first_is_worse(self) -> bool:
        """Whether the report claims that the first is worse."""
        better = (self.value > 0) == self.measure.metric.higher_is_better
        return self.significantly_different and not better


@dataclass(frozen=True, kw_only=True)
class Contrast(Tested):
    """A contrast; the slice of its measure is all that are compared, in words."""

    family: str
    name: str
    terms: str  # as the configuration has them


@dataclass(frozen=True)
class MinimumDetectableDifference:
    """The smallest true difference that 80 % of experiments like this one would detect.

    Infinite where none can be.
    """

    single_test: float  # at 5 %, as if it were the only comparison
    after_holm: float  # as the least certain comparison of the family
    seed_count: int


@dataclass(frozen=True)
class GapClosed:
    """The share of the gap between plain fine-tuning and the teacher that a method closes."""

    measure: Measure
    row: Row
    share: float
    interval: Interval
    seed_count: int


@dataclass(frozen=True)
class Finding:
    """A measure's result for the methods of a pair, in words."""

    pair: Pair
    measure: Measure
    text: str


@dataclass(frozen=True)
class Comparisons:
    """Everything that the report claims about which method is better."""

    # that were compared: of few pairs for a figure that has no room for all
    results: Results = field(compare=False)
    intervals: Mapping[tuple[Row, Measure], Interval]  # of every mean, slices included
    differences: Mapping[tuple[Pair, Measure], tuple[Difference, ...]]
    letters: Mapping[tuple[Row, Measure], str]
    detectable: Mapping[tuple[Pair, Measure], MinimumDetectableDifference]
    gap_baseline: str  # the name of plain fine-tuning; empty if no method is
    gaps_closed: tuple[GapClosed, ...]
    teacher_size_effects: tuple[Difference, ...]  # first: under the larger teacher
    contrasts: tuple[Contrast, ...]  # of the configuration, those that have a value
    changes_elsewhere: tuple[Difference, ...]  # on other tasks; second: before any training
    findings: tuple[Finding, ...]

    def to_baseline(self, pair: Pair, measure: Measure) -> list[Difference]:
        """Each method minus plain fine-tuning."""
        return minus(self.gap_baseline, self.differences.get((pair, measure), ()))


def involving(row: Row, differences: Iterable[Difference]) -> dict[Row, Difference]:
    """The differences of the other rows from this one, by the other row."""
    oriented = (each.swapped() if each.first == row else each for each in differences)
    return {each.first: each for each in oriented if each.second == row}


def minus(method: str, differences: Iterable[Difference]) -> list[Difference]:
    """The differences to this method, in that direction."""
    return [
        difference.swapped() if difference.first.method == method else difference
        for difference in differences
        if method in (difference.first.method, difference.second.method)
    ]
