"""The comparisons in plain words: what was measured, which methods differ, and by how much."""

import math
from collections.abc import Iterator, Mapping, Sequence

from pipeline.reporting.analysis.findings import (
    Difference,
    Finding,
    MinimumDetectableDifference,
    involving,
)
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, Row
from pipeline.reporting.analysis.standings import has_unequal_seeds, ranking
from pipeline.reporting.analysis.texts import counted

LISTED = 6  # methods that a sentence can name
UNEQUAL = (
    "Methods have unequal seeds here: the best is so as if all had the same ones, its mean is over "
    "its own, and leads are over the seeds that both have."
)


def scope(results: Results) -> str:
    """How much was trained and measured, in one sentence."""
    trained = results.trained
    runs = [(row, runs) for (row, _), runs in results.runs.items() if row.kind == "method"]
    ids = {id for _, by_seed in runs for id in by_seed.values()}
    seeds = {seed for _, by_seed in runs for seed in by_seed}
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
    items = f"item{'' if count == 1 else 's'}"
    return f"{count:,} held-out {items}" if task == "heldout" else f"{count:,} {items} of {task}"


def findings(
    results: Results,
    differences: Mapping[tuple[Pair, Measure], Sequence[Difference]],
    detectable: Mapping[tuple[Pair, Measure], MinimumDetectableDifference],
) -> Iterator[Finding]:
    """A finding for each ranked measure of each pair."""
    for pair in results.pairs:
        for measure in results.ranked_measures:
            if not (ranked := ranking(results, pair, measure)):
                continue
            best, *others = ranked
            value = measure.format(results.means[best, measure].value)
            of_pair = differences.get((pair, measure), ())
            if not others:
                text = f"Only {best.method} was trained: {value}."
            elif smallest := detectable.get((pair, measure)):
                text = " ".join(_compared(measure, ranked, value, of_pair, smallest))
            elif sum(difference.is_copy for difference in of_pair) == math.comb(len(ranked), 2):
                text = f"All methods score the same, {value}."
            else:  # methods without a seed in common: at most, copies were compared
                which = "methods that differ" if of_pair else "methods"
                why = f"no two {which} could be compared"
                text = f"{best.method} has the best value, {value}; {why}."
            if has_unequal_seeds(results, pair, measure):
                text += f" {UNEQUAL}"
            yield Finding(pair, measure, f"{text}{_of_teacher(results, pair, measure)}")


def _compared(
    measure: Measure,
    ranking: Sequence[Row],
    value: str,
    differences: Sequence[Difference],
    smallest: MinimumDetectableDifference,
) -> Iterator[str]:
    """Sentences on a cell in which methods were compared."""
    best, *others = ranking
    scope = "Of these checkpoints (one training seed): " if smallest.seed_count == 1 else ""
    yield f"{scope}{best.method} has the best mean, {value}."
    behind, higher = involving(best, differences), measure.metric.higher_is_better
    leads = {
        row: behind[row].swapped() if higher else behind[row] for row in others if row in behind
    }
    yield from _leads_in_words(leads, len(others))
    different = sum(each.significantly_different for each in differences)
    yield (
        f"{different} of {counted(len(differences), 'pair')} of methods differ significantly; "
        f"{_detectable_in_words(measure, smallest)}."
    )


def _detectable_in_words(measure: Measure, smallest: MinimumDetectableDifference) -> str:
    if not measure.metric.is_possible(smallest.after_holm):
        return "no difference within its scale would be detected in 4 of 5 such experiments"
    size = measure.metric.with_unit(measure.format_end(smallest.after_holm))
    return f"a true difference of {size} would be detected in 4 of 5 such experiments"


def _leads_in_words(leads: Mapping[Row, Difference], rivals: int) -> Iterator[str]:
    """The methods that the best is significantly ahead of, and those that it is not."""
    claimed = {row: lead for row, lead in leads.items() if lead.significantly_different}
    others = {row: lead for row, lead in leads.items() if row not in claimed}
    significant = {row: lead for row, lead in claimed.items() if lead.value > 0}
    behind = {row: lead.swapped() for row, lead in claimed.items() if lead.value < 0}
    if len(significant) == rivals:
        nearest = min(significant, key=lambda row: significant[row].value)
        yield f"It is ahead of every other method, of {_listed({nearest: significant[nearest]})}."
        return
    if significant:
        yield f"It is ahead of {_listed(significant)}."
    if behind:  # only over fewer seeds than it has
        yield f"On shared seeds it is behind {_listed(behind)}."
    if len(others) == rivals:
        yield f"None of its leads is significant: over {_listed(others)}."
    elif others:
        yield f"Not significant: its lead over {_listed(others)}."


def _listed(leads: Mapping[Row, Difference]) -> str:
    texts = []
    for row, lead in list(leads.items())[:LISTED]:
        value, ends = lead.measure.format(lead.value), (lead.interval.low, lead.interval.high)
        low, high = map(lead.measure.format_end, ends)
        texts.append(f"{row.method} by {value} ({low} to {high})")
    rest = [f"and {len(leads) - LISTED} more"] if len(leads) > LISTED else []
    return ", ".join([*texts, *rest])


def _of_teacher(results: Results, pair: Pair, measure: Measure) -> str:
    scored = list(results.means_by_row(results.teachers(pair), measure).values())
    if not scored or not results.is_held_against_teacher(pair, measure):
        return ""
    return f" The teacher scores {measure.format(scored[0].value)}."
