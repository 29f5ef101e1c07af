"""The comparisons in plain words: what was measured, which methods differ, and by how much."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.reporting.analysis.findings import (
    Difference,
    Finding,
    Interval,
    MinimumDetectableDifference,
)
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, Row, best_first

LISTED = 6  # methods that a sentence can name


@dataclass(frozen=True)
class Lead:
    """The best method's lead over another, positive in the better direction."""

    row: Row
    value: float
    interval: Interval
    significant: bool


def scope(results: Results) -> str:
    """How much was trained and measured, in one sentence."""
    trained = [row for rows in results.methods.values() for row in rows]
    runs = [(row, runs) for (row, _), runs in results.runs.items() if row.kind == "method"]
    ids = {id for _, by_seed in runs for id in by_seed.values()}
    seeds = {seed for row, by_seed in runs if row == trained[0] for seed in by_seed}
    items: dict[str, int] = {}
    for (_, task, _, _), matrix in results.items.items():
        items[task] = max(items.get(task, 0), matrix.weights.shape[1])
    measured = " and ".join(_items_of(task, count) for task, count in sorted(items.items()))
    counts = (
        counted(len({row.method for row in trained}), "method"),
        f"{counted(len(results.pairs), 'pair')} of teacher and student",
        counted(len(seeds), "seed"),
    )
    return f"{', '.join(counts)}: {counted(len(ids), 'trained student')}, measured on {measured}."


def _items_of(task: str, count: int) -> str:
    return f"{count:,} held-out items" if task == "heldout" else f"{count:,} items of {task}"


def counted(number: int, thing: str) -> str:
    """A count with its noun in singular or plural."""
    return f"{number} {thing}" + ("" if number == 1 else "s")


def findings(
    results: Results,
    differences: Mapping[tuple[Pair, Measure], Sequence[Difference]],
    detectable: Mapping[tuple[Pair, Measure], MinimumDetectableDifference],
) -> Iterator[Finding]:
    """A finding for each ranked measure of each pair."""
    for pair in results.pairs:
        for measure in results.ranked_measures:
            means = results.means_by_row(results.methods[pair], measure)
            if not means:
                continue
            best, *others = best_first(means, measure)
            value, of_pair = measure.format(means[best].value), differences.get((pair, measure), ())
            if not others:
                text = f"Only {best.label} was trained: {value}."
            elif smallest := detectable.get((pair, measure)):
                sentences = _compared(measure, best, others, value, of_pair, smallest)
                text = " ".join(sentences)
            else:
                why = "all are copies of one" if of_pair else "no two methods could be compared"
                text = f"{best.label} has the best value, {value}; {why}."
            yield Finding(pair, measure, f"{text}{_of_teacher(results, pair, measure)}")


def _compared(
    measure: Measure,
    best: Row,
    others: Sequence[Row],
    value: str,
    differences: Sequence[Difference],
    smallest: MinimumDetectableDifference,
) -> Iterator[str]:
    """Sentences on a cell in which methods were compared."""
    one_seed = smallest.seed_count == 1
    scope = "Of these checkpoints (one training seed): " if one_seed else ""
    yield f"{scope}{best.label} has the best mean, {value}."
    yield from _leads_in_words(measure, _leads(best, others, differences), len(others))
    different = sum(difference.significantly_different for difference in differences)
    yield (
        f"{different} of {counted(len(differences), 'pair')} of methods differ significantly; "
        f"{_detectable_in_words(measure, smallest)}."
    )


def _detectable_in_words(measure: Measure, smallest: MinimumDetectableDifference) -> str:
    if smallest.after_holm > measure.metric.largest_difference:
        return "no difference within its scale would be detected in 4 of 5 such experiments"
    size = measure.metric.with_unit(measure.format(smallest.after_holm))
    return f"a true difference of {size} would be detected in 4 of 5 such experiments"


def _leads(best: Row, others: Sequence[Row], differences: Sequence[Difference]) -> list[Lead]:
    """The best method's leads over the others that it was compared with."""
    compared = {}
    for difference in differences:
        if best in (difference.first, difference.second):
            rival = difference.second if difference.first == best else difference.first
            compared[rival] = difference
    return [_lead(row, best, compared[row]) for row in others if row in compared]


def _lead(row: Row, best: Row, difference: Difference) -> Lead:
    value, interval = difference.value, difference.interval
    if (difference.first == best) != difference.measure.metric.higher_is_better:
        value, interval = -value, interval.negated()
    return Lead(row, value, interval, difference.significantly_different)


def _leads_in_words(measure: Measure, leads: Sequence[Lead], rivals: int) -> Iterator[str]:
    """The methods that the best is significantly ahead of, and those that it is not."""
    significant = [lead for lead in leads if lead.significant]
    others = [lead for lead in leads if not lead.significant]
    if len(significant) == rivals:
        nearest = min(significant, key=lambda lead: lead.value)
        yield f"It is ahead of every other method, of {_in_words(measure, nearest)}."
        return
    if significant:
        yield f"It is ahead of {_listed(measure, significant)}."
    if len(others) == rivals:
        yield f"None of its leads is significant: over {_listed(measure, others)}."
    elif others:
        yield f"Not significant: its lead over {_listed(measure, others)}."


def _listed(measure: Measure, leads: Sequence[Lead]) -> str:
    named = [_in_words(measure, lead) for lead in leads[:LISTED]]
    rest = [f"and {len(leads) - LISTED} more"] if len(leads) > LISTED else []
    return ", ".join([*named, *rest])


def _in_words(measure: Measure, lead: Lead) -> str:
    low, high = measure.format(lead.interval.low), measure.format(lead.interval.high)
    return f"{lead.row.label} by {measure.format(lead.value)} ({low} to {high})"


def _of_teacher(results: Results, pair: Pair, measure: Measure) -> str:
    teachers = [row for row in results.references[pair] if row.kind == "teacher"]
    scored = list(results.means_by_row(teachers, measure).values())
    if not scored or measure.metric.relative_to_teacher:
        return ""
    return f" The teacher scores {measure.format(scored[0].value)}."
