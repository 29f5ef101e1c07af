"""What comparing the methods gives: differences, letters, and what could have been found."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Row
from pipeline.statistics.multiplicity import LEVEL


@dataclass(frozen=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float

    @property
    def half(self) -> float:
        """Half its width: what stands behind ±."""
        return (self.high - self.low) / 2

    def within(self, lowest: float, highest: float) -> "Interval":
        """What of it lies between two ends: a truth that can't be beyond them is held as often."""
        return Interval(max(self.low, lowest), min(self.high, highest))

    def is_around(self, value: float) -> bool:
        """Whether `value` is its middle, so that ± says it all."""
        return math.isclose(self.high - value, value - self.low, rel_tol=1e-6, abs_tol=1e-12)


def interval_of_mean(measure: Measure, value: float, half: float) -> Interval:
    """Around a mean, as far as the measure's scale goes."""
    return Interval(value - half, value + half).within(*measure.metric.ends)


def interval_of_difference(measure: Measure, value: float, half: float, *, level: bool) -> Interval:
    """Around a difference, as far as the measure's scale goes.

    It holds zero where a test leaves the two `level`: with one training seed a test over items may
    see less than the interval does.
    """
    low, high = value - half, value + half
    if level:
        low, high = min(low, 0.0), max(high, 0.0)
    return Interval(low, high).within(-measure.metric.widest, measure.metric.widest)


@dataclass(frozen=True)
class Difference:
    """Two methods of a pair on a measure: `one` − `other`, same seeds and same items."""

    measure: Measure
    one: Row
    other: Row
    seeds: int  # that both were trained with; with one, all is said of these checkpoints only
    copies: bool  # as good as the same row twice: not tested, and no evidence about the others
    value: float
    interval: Interval  # agrees with the test after correction; of one comparison if not tested
    error: float
    degrees: float
    effect: float | None  # in standard deviations of the items' differences
    p_value: float
    of_checkpoints: float  # p-value of sign flips over items, these checkpoints given
    adjusted: float | None  # Holm's; None for copies, and for one seed where others have more

    @property
    def apart(self) -> bool:
        """Whether it may be claimed that the two differ."""
        return self.adjusted is not None and self.adjusted < LEVEL

    @property
    def pair(self) -> Pair:
        """The teacher and student that both have."""
        return Pair(self.one.teacher, self.one.student)


@dataclass(frozen=True)
class Resolution:
    """The smallest true difference that is found in 80 % of experiments like this one."""

    alone: float  # where it is the only comparison, at 5 %
    together: float  # where it is the least certain of the family, after Holm
    seeds: int


@dataclass(frozen=True)
class ShareClosed:
    """How much of the way from plain fine-tuning to the teacher a method has gone."""

    measure: Measure
    row: Row
    value: float
    interval: Interval
    seeds: int

    @property
    def pair(self) -> Pair:
        """The teacher and student that it was trained with."""
        return Pair(self.row.teacher, self.row.student)


@dataclass(frozen=True)
class Shares:
    """The shares of all methods, and where there are none."""

    baseline: str  # the label of plain fine-tuning; empty where no method is
    closed: tuple[ShareClosed, ...]
    without_gap: tuple[tuple[Pair, Measure], ...]  # the teacher may be no better than the baseline


@dataclass(frozen=True)
class TeacherStep:
    """A method's student under a larger teacher against the same under a smaller one."""

    measure: Measure
    smaller: Row
    larger: Row
    seeds: int
    value: float  # larger − smaller
    interval: Interval
    p_value: float
    adjusted: float

    @property
    def before(self) -> Pair:
        """The smaller teacher and the student."""
        return Pair(self.smaller.teacher, self.smaller.student)

    @property
    def after(self) -> Pair:
        """The larger teacher and the student."""
        return Pair(self.larger.teacher, self.larger.student)

    @property
    def apart(self) -> bool:
        """Whether it may be claimed that the teacher's size matters."""
        return self.adjusted < LEVEL

    @property
    def poorer(self) -> bool:
        """Whether it may be claimed that the larger teacher gives the poorer student."""
        better = (self.value > 0) == self.measure.metric.higher_is_better
        return self.apart and not better


@dataclass(frozen=True)
class Finding:
    """What a measure says about the methods of a pair, in words."""

    pair: Pair
    measure: Measure
    text: str


@dataclass(frozen=True)
class Comparisons:
    """All that can and can't be said of which method is better."""

    intervals: Mapping[tuple[Row, Measure], Interval]  # of every mean, parts of tasks included
    differences: Mapping[tuple[Pair, Measure], tuple[Difference, ...]]
    letters: Mapping[tuple[Row, Measure], str]
    resolutions: Mapping[tuple[Pair, Measure], Resolution]
    shares: Shares
    steps: tuple[TeacherStep, ...]
    findings: tuple[Finding, ...]

    @property
    def resolvable(self) -> Mapping[tuple[Pair, Measure], float]:
        """The smallest difference that each cell can be expected to find by itself."""
        return {place: found.alone for place, found in self.resolutions.items()}

    def seeds_of(self, pair: Pair, measure: Measure) -> int:
        """The training seeds behind what is claimed; 0 where nothing is compared."""
        found = self.resolutions.get((pair, measure))
        return found.seeds if found else 0
