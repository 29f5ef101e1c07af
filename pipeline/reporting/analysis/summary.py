"""The numbers in plain words: what they show, and what they can't."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from pipeline.methods.method import Method
from pipeline.reporting.analysis.findings import (
    Comparisons,
    Difference,
    Finding,
    Interval,
    MinimumDetectableDifference,
)
from pipeline.reporting.analysis.metrics import Measure
from pipeline.reporting.analysis.scores import Pair, Results, Row, best_first
from pipeline.statistics.tests import smallest_p_value

ENOUGH_SEEDS = 10  # from here on, that scores are normal over seeds hardly matters
NAMED = 6  # methods that a sentence can list


@dataclass(frozen=True)
class Agreement:
    """Who is among the best under every teacher and student."""

    measure: Measure
    text: str


@dataclass(frozen=True)
class Lead:
    """By how much the best method is ahead of another, in the direction that is better."""

    row: Row
    value: float
    interval: Interval
    apart: bool


def scope(results: Results) -> str:
    """How much was trained and measured, in one sentence."""
    trained = [row for rows in results.methods.values() for row in rows]
    ids = {id for row in trained for id in _of(results, row)["id"]}
    tasks = results.scores.groupby("task")["n"].max()
    items = " and ".join(f"{n} items of {task}" for task, n in tasks.items())
    counts = (
        _count(len({row.method for row in trained}), "method"),
        _count(len({pair.student for pair in results.pairs}), "student"),
        _count(len({pair.teacher for pair in results.pairs}), "teacher"),
        _count(_of(results, trained[0])["seed"].nunique(), "seed"),
    )
    return f"{', '.join(counts)}: {_count(len(ids), 'trained student')}, measured on {items}."


def _of(results: Results, row: Row) -> pd.DataFrame:
    scores = results.scores
    here = (scores["teacher"] == row.teacher) & (scores["student"] == row.student)
    return scores[here & (scores["method"] == row.method)]


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")


def findings(
    results: Results,
    differences: Mapping[tuple[Pair, Measure], Sequence[Difference]],
    resolutions: Mapping[tuple[Pair, Measure], MinimumDetectableDifference],
) -> Iterator[Finding]:
    """A finding for each measure of each pair that somebody can be best at."""
    for pair in results.pairs:
        for measure in results.ranked_measures:
            place = (pair, measure)
            if results.means_by_row(results.methods[pair], measure):
                text = _finding(results, place, differences.get(place, ()), resolutions.get(place))
                yield Finding(pair, measure, f"{text}{_to_teacher(results, pair, measure)}")


def _finding(
    results: Results,
    place: tuple[Pair, Measure],
    differences: Sequence[Difference],
    resolution: MinimumDetectableDifference | None,
) -> str:
    pair, measure = place
    means = results.means_by_row(results.methods[pair], measure)
    best, *others = best_first(means, measure)
    value = measure.format(means[best].value)
    if not others:
        return f"Only {best.label} was trained: {value}."
    if resolution is None:
        why = "all are copies of one" if differences else "no two methods could be compared"
        return f"{best.label} has the best value, {value}; {why}."
    leads = _leads(best, others, differences)
    apart = sum(one.significantly_different for one in differences)
    return " ".join(
        [
            f"{_of_what(resolution)}{best.label} has the best mean, {value}.",
            *_ahead(measure, leads, everybody=len(others)),
            f"{apart} of {_count(len(differences), 'pair')} of methods are told apart; "
            f"{_found(measure, resolution)}.",
        ]
    )


def _found(measure: Measure, resolution: MinimumDetectableDifference) -> str:
    if resolution.after_holm > measure.metric.largest_difference:
        return "no difference that its scale has room for is found in 4 of 5 such experiments"
    size = measure.format(resolution.after_holm)
    return f"a true difference of {size} is found in 4 of 5 such experiments"


def _of_what(resolution: MinimumDetectableDifference) -> str:
    return "Of these checkpoints (one training seed): " if resolution.seed_count == 1 else ""


def _leads(best: Row, others: Sequence[Row], differences: Sequence[Difference]) -> list[Lead]:
    """Of the best over each of the others that it was compared with."""
    found = {}
    for one in differences:
        if best in (one.first, one.second):
            found[one.second if one.first == best else one.first] = one
    return [_lead(row, best, found[row]) for row in others if row in found]


def _lead(row: Row, best: Row, one: Difference) -> Lead:
    higher = one.measure.metric.higher_is_better
    low, high = one.interval.low, one.interval.high
    if (one.first == best) == higher:
        return Lead(row, one.value, one.interval, one.significantly_different)
    return Lead(row, -one.value, Interval(-high, -low), one.significantly_different)


def _ahead(measure: Measure, leads: Sequence[Lead], everybody: int) -> Iterator[str]:
    """Whom the best is ahead of, and whom it can't be told from."""
    beaten = [lead for lead in leads if lead.apart]
    level = [lead for lead in leads if not lead.apart]
    if len(beaten) == everybody:
        nearest = min(beaten, key=lambda lead: lead.value)
        yield f"It is ahead of every other method, of {_by(measure, nearest)}."
        return
    if beaten:
        yield f"It is ahead of {_listed(measure, beaten)}."
    if len(level) == everybody:
        yield f"Not significant, any of its leads: over {_listed(measure, level)}."
    elif level:
        yield f"Not significant: its lead over {_listed(measure, level)}."


def _listed(measure: Measure, leads: Sequence[Lead]) -> str:
    named = [_by(measure, lead) for lead in leads[:NAMED]]
    left_out = [f"and {len(leads) - NAMED} more"] if len(leads) > NAMED else []
    return ", ".join([*named, *left_out])


def _by(measure: Measure, lead: Lead) -> str:
    low, high = measure.format(lead.interval.low), measure.format(lead.interval.high)
    return f"{lead.row.label} by {measure.format(lead.value)} ({low} to {high})"


def _to_teacher(results: Results, pair: Pair, measure: Measure) -> str:
    references = results.references[pair]
    ceilings = results.means_by_row(tuple(r for r in references if r.kind == "teacher"), measure)
    if not ceilings or measure.metric.relative_to_teacher:
        return ""
    ceiling = next(iter(ceilings.values()))
    return f" The teacher has {measure.format(ceiling.value)}."


def agreements(results: Results, comparisons: Comparisons) -> list[Agreement]:
    """For each measure, who is best or not told from the best under all teachers and students."""
    found = []
    for measure in results.ranked_measures:
        groups = [_among_the_best(results, comparisons, pair, measure) for pair in results.pairs]
        if len(groups) < 2 or not all(groups):
            continue
        always = [label for label in results.labels if all(label in group for group in groups)]
        text = ", ".join(always) or "no method"
        if len(always) == len(results.labels):
            text = "every method: nowhere is one told from the best"
        found.append(Agreement(measure, text))
    return found


def _among_the_best(
    results: Results, comparisons: Comparisons, pair: Pair, measure: Measure
) -> set[str]:
    """The best method's label and those of all that are not told from it; empty: not compared."""
    differences = comparisons.differences.get((pair, measure), ())
    if not differences:
        return set()
    ordered = best_first(results.means_by_row(results.methods[pair], measure), measure)
    beaten = {lead.row for lead in _leads(ordered[0], ordered[1:], differences) if lead.apart}
    return {row.label for row in ordered if row not in beaten}


def limits_of_measures(measures: Sequence[Measure]) -> Iterator[str]:
    """What measures do not see of the data that they were taken on."""
    names = {(one.task, one.metric.name) for one in measures}
    for task, name in sorted(names):
        if name == "rouge_l_unicode":
            seen = "a part" if (task, "rouge_l") in names else "nothing"
            yield (
                f"The papers' ROUGE-L knows the words of a-z and 0-9 alone and sees {seen} of the "
                f"references of {task}: read the column with Unicode words."
            )


def limits(comparisons: Comparisons, cards: Mapping[str, Method]) -> list[str]:
    """What can't be concluded from these numbers."""
    return [
        *_limits_of_seeds(comparisons),
        *_limits_of_tests(comparisons),
        "One data set, one protocol and one set of hyperparameters for each method: with other "
        "data, a longer budget or a search for each method the order may differ.",
        *_limits_of_methods(cards),
    ]


def _limits_of_seeds(comparisons: Comparisons) -> Iterator[str]:
    counts = sorted({found.seed_count for found in comparisons.detectable.values()})
    if counts and counts[0] == 1:
        where = "" if counts == [1] else " Where there is one, the table's column of seeds says so."
        yield (
            "One training seed: the difference between two methods can't be told from the "
            "difference between two trainings of one method. Intervals, letters and p-values are "
            "over items alone: of these checkpoints, not of the methods that made them." + where
        )
    several = [count for count in counts if 1 < count < ENOUGH_SEEDS]
    if several:
        least = several[0]
        yield (
            f"{least} training seeds: a test without assumptions about how scores vary over seeds "
            f"can't give a p-value below {smallest_p_value(least):.3g}. The tests here assume "
            "normal scores over seeds, and learn from all methods of a cell how much seeds "
            "matter; the differences of a method that varies much more than the others are claimed "
            "too readily (docs/statistics.md says how often)."
        )
    every = [one for found in comparisons.differences.values() for one in found]
    if any(one.adjusted_p_value is None and not one.is_copy for one in every):
        yield (
            "Some methods have one training seed in common with the others, which have more: what "
            "it is worth is not tested, and such pairs share a letter."
        )


def _limits_of_tests(comparisons: Comparisons) -> Iterator[str]:
    families = {}
    for (_, measure), found in comparisons.differences.items():
        tested = sum(one.adjusted_p_value is not None for one in found)
        families[measure] = families.get(measure, 0) + tested
    if families:
        most = max(families.values())
        yield (
            f"Claims are held to one false one in 20 reports for each measure, over up to "
            f"{_count(most, 'comparison')} (Holm), not over all measures together. Intervals of "
            "differences are corrected likewise, those of means are of one mean each. Sharing a "
            "letter is no proof of being equal."
        )


def _limits_of_methods(cards: Mapping[str, Method]) -> Iterator[str]:
    known_from_abstract = [name for name, card in cards.items() if card.evidence == "abstract"]
    cached = [name for name, card in cards.items() if card.teacher == "cache"]
    if known_from_abstract:
        yield (
            f"Of {', '.join(known_from_abstract)} no more than an abstract was read: a low score "
            "may be due to our reading of it."
        )
    if cached:
        yield (
            f"{', '.join(cached)} saw the teacher's most likely tokens and one bucket for the "
            "rest, not its whole distribution."
        )
