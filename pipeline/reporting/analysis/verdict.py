"""What came out, in a sentence for each primary measure: who is best, by how much, how surely."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from pipeline.reporting.analysis.findings import Comparisons, involving
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Row
from pipeline.reporting.analysis.standings import ranking

NAMED = 3  # methods that a verdict names
OF_CHECKPOINTS = "Of these checkpoints (one training seed)."


@dataclass(frozen=True)
class Verdict:
    """What the paired tests say of a measure over all teachers and students."""

    measure: Measure
    answer: str  # the best methods, or that none is
    reason: str  # the rest of the sentence

    @property
    def text(self) -> str:
        """The whole sentence."""
        return f"{self.answer} {self.reason}"


def verdicts(comparisons: Comparisons) -> list[Verdict]:
    """A verdict for each primary measure on which methods were compared."""
    pairs, detectable = comparisons.results.pairs, comparisons.detectable
    return [
        _verdict(measure, compared, comparisons)
        for measure in comparisons.results.primary_measures
        if (compared := [pair for pair in pairs if (pair, measure) in detectable])
    ]


def _verdict(measure: Measure, pairs: Sequence[Pair], comparisons: Comparisons) -> Verdict:
    differences = chain.from_iterable(comparisons.differences[pair, measure] for pair in pairs)
    is_single = all(comparisons.detectable[pair, measure].seed_count == 1 for pair in pairs)
    scope = f" {OF_CHECKPOINTS}" if is_single else ""
    if not any(difference.significantly_different for difference in differences):
        power = f"({_power(measure, comparisons)}).{scope}"
        return Verdict(measure, "No significant differences", power)
    leaders = [
        [row.method for row in not_worse_than_best(comparisons, pair, measure)] for pair in pairs
    ]
    methods = comparisons.results.method_names
    wins = {method: sum(method in group for group in leaders) for method in methods}
    first = Counter(group[0] for group in leaders)  # the best mean of a pair
    best = [method for method, count in wins.items() if count == max(wins.values())]
    best.sort(key=lambda method: -first[method])
    alone = sum(group == best[:1] for group in leaders) if len(best) == 1 else 0
    verb = "is" if len(best) == 1 else "are"
    reason = f"{verb} {_among_the_best(wins[best[0]], len(pairs), alone)}"
    if runners_up := _runners_up({method: wins[method] for method in wins if method not in best}):
        reason += f"; {runners_up}"
    margin = _margin(measure, best[0], pairs, comparisons)
    margin = margin and f" {best[0] if len(best) > 1 else 'It'} {margin}"
    return Verdict(measure, _listed(best), f"{reason}.{margin}{scope}")


def not_worse_than_best(comparisons: Comparisons, pair: Pair, measure: Measure) -> list[Row]:
    """The best row of a pair and all that are not significantly worse, best first."""
    best, *others = ranking(comparisons.results, pair, measure)
    compared = involving(best, comparisons.differences.get((pair, measure), ()))
    worse = {row for row, difference in compared.items() if difference.first_is_worse}
    return [best, *(row for row in others if row not in worse)]


def _among_the_best(count: int, pairs: int, alone: int) -> str:
    if pairs == 1:
        return "significantly better than all others" if alone else "among the best"
    if alone == pairs:
        return f"significantly best in {_of_pairs(pairs, pairs)}"
    return f"among the best in {_of_pairs(count, pairs)}" + (f", alone in {alone}" if alone else "")


def _of_pairs(count: int, pairs: int) -> str:
    if count == pairs:
        return "both pairs" if pairs == 2 else f"all {pairs} pairs"
    return f"{count} of {pairs} pairs"


def _runners_up(wins: dict[str, int]) -> str:
    if not (most := max(wins.values(), default=0)):
        return ""
    return f"{_listed([method for method, count in wins.items() if count == most])} in {most}"


def _listed(methods: Sequence[str]) -> str:
    if len(methods) > NAMED:
        return f"{', '.join(methods[:NAMED])} and {len(methods) - NAMED} more"
    *others, last = methods
    return f"{', '.join(others)} and {last}" if others else last


def _margin(measure: Measure, method: str, pairs: Sequence[Pair], comparisons: Comparisons) -> str:
    """How far a method is from the baseline, over pairs."""
    baseline = comparisons.gap_baseline
    differences = [
        difference
        for pair in pairs
        for difference in comparisons.to_baseline(pair, measure)
        if difference.first.method == method
    ]
    values = sorted((difference.value for difference in differences), key=abs)
    if len({value > 0 for value in values}) != 1:
        return ""
    ends = dict.fromkeys(measure.format_end(abs(value)) for value in (values[0], values[-1]))
    side = "above" if values[0] > 0 else "below"
    surely = sum(difference.significantly_different for difference in differences)
    where = f" in {_of_pairs(surely, len(pairs))}" if len(pairs) > 1 else ""
    surety = f"significantly{where}" if surely else "not significantly"
    size = measure.metric.with_unit(" to ".join(ends))
    return f"is {size} {side} {baseline}, {surety}."


def _power(measure: Measure, comparisons: Comparisons) -> str:
    """The difference that the least certain pair would have detected."""
    detectable = comparisons.detectable.items()
    smallest = max(least.after_holm for (_, other), least in detectable if other == measure)
    if not measure.metric.is_possible(smallest):
        return "no difference on its scale has 80 % power"
    return f"80 % power for differences of {measure.metric.with_unit(measure.format_end(smallest))}"
