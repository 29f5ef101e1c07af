"""The numbers in plain words: what they show, and what they can't."""

from dataclasses import dataclass

import pandas as pd

from pipeline.method import Method
from pipeline.reporting.metrics import Measure
from pipeline.reporting.scores import Mean, Pair, Results, Row
from pipeline.reporting.tables import group_of

FEW_SEEDS = 10
FEW_ITEMS = 1000
NAMED = 6  # methods that a sentence can list


@dataclass(frozen=True)
class Finding:
    """What a measure says about the methods of a pair."""

    measure: Measure
    text: str


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


def findings(results: Results, pair: Pair) -> list[Finding]:
    """A finding for each measure that somebody can be best at."""
    return [
        Finding(measure, _finding(results, pair, measure))
        for measure in results.judged
        if results.found(results.methods[pair], measure)
    ]


def _finding(results: Results, pair: Pair, measure: Measure) -> str:
    means = results.found(results.methods[pair], measure)
    best, *others = sorted(
        means, key=lambda row: means[row].value, reverse=bool(measure.metric.higher_is_better)
    )
    beside = [row for row in group_of(results, pair, measure) if row != best]
    value = _value(measure, means[best])
    if not others:
        text = f"Only {best.label} was trained: {value}."
    elif means[best].spread is None and not beside:
        text = _without_spread(measure, means, best, others[0])
    elif beside:
        text = _shared(measure, means, best, beside, all_alike=len(beside) == len(others))
    else:
        text = _alone(measure, means, best, others[0])
    return f"{text}{_to_teacher(results, pair, measure)}"


def _value(measure: Measure, mean: Mean) -> str:
    spread = "" if mean.spread is None else f" ± {measure.text(mean.spread)}"
    return f"{measure.text(mean.value)}{spread}"


def _gap(measure: Measure, means: dict[Row, Mean], best: Row, other: Row) -> str:
    return measure.text(abs(means[best].value - means[other].value))


def _without_spread(measure: Measure, means: dict[Row, Mean], best: Row, other: Row) -> str:
    return (
        f"{best.label} has the best value, {_value(measure, means[best])}; the next, "
        f"{other.label}, is {_gap(measure, means, best, other)} away. Without a spread over seeds "
        "there is no telling whether that is more than chance."
    )


def _shared(
    measure: Measure, means: dict[Row, Mean], best: Row, beside: list[Row], *, all_alike: bool
) -> str:
    named = [f"{row.label} ({_gap(measure, means, best, row)} away)" for row in beside[:NAMED]]
    left_out = [f"and {len(beside) - NAMED} more"] if len(beside) > NAMED else []
    others = ", ".join([*named, *left_out])
    lead = f"{best.label} has the best mean, {_value(measure, means[best])}"
    if all_alike:
        return f"{lead}, but every other method is within the spread over seeds: {others}."
    return f"{lead}. Not further from it than the spread over seeds: {others}."


def _alone(measure: Measure, means: dict[Row, Mean], best: Row, other: Row) -> str:
    spread = max(means[best].spread or 0, means[other].spread or 0)
    return (
        f"{best.label} has the best mean, {_value(measure, means[best])}; the next, {other.label}, "
        f"is {_gap(measure, means, best, other)} away, more than the spread over seeds "
        f"({measure.text(spread)})."
    )


def _to_teacher(results: Results, pair: Pair, measure: Measure) -> str:
    references = results.references[pair]
    ceilings = results.found(tuple(r for r in references if r.kind == "teacher"), measure)
    if not ceilings or measure.metric.relative:
        return ""
    ceiling = next(iter(ceilings.values()))
    return f" The teacher has {measure.text(ceiling.value)}."


def agreements(results: Results) -> list[Finding]:
    """For each measure, who is among the best under every teacher and student."""
    found = []
    for measure in results.judged:
        groups = [{row.label for row in group_of(results, pair, measure)} for pair in results.pairs]
        if len(groups) < 2 or not all(groups):
            continue
        always = [label for label in results.labels if all(label in group for group in groups)]
        text = ", ".join(always) or "no method"
        found.append(Finding(measure, text))
    return found


def limits(results: Results, cards: dict[str, Method]) -> list[str]:
    """What can't be concluded from these numbers."""
    return [
        *_limits_of_seeds(results),
        *_limits_of_items(results),
        "A mark or a word like 'best' compares means with the spread over seeds. No test of "
        "significance was made, and many comparisons stand side by side.",
        "One data set, one protocol and one set of hyperparameters for each method: with other "
        "data, a longer budget or a search for each method the order may differ.",
        *_limits_of_methods(cards),
    ]


def _limits_of_seeds(results: Results) -> list[str]:
    counts = {mean.runs for (row, _), mean in results.means.items() if row.kind == "method"}
    runs = min(counts)
    if len(counts) > 1:
        return [
            f"Some methods have {_count(runs, 'training seed')} and others up to {max(counts)}: "
            "the spread of the former is the less certain, and their seeds are not the same."
        ]
    if runs == 1:
        return [
            "One training seed: the difference between two methods can't be told from the "
            "difference between two trainings of one method."
        ]
    if runs > FEW_SEEDS:
        return []
    uncertain = 100 / (2 * (runs - 1)) ** 0.5  # of a normal variable's standard deviation, in %
    return [
        f"{runs} training seeds: a spread over so few is itself uncertain by roughly "
        f"{uncertain:.0f} %, so the groups of methods that are marked are rough too."
    ]


def _limits_of_items(results: Results) -> list[str]:
    found = []
    for task, scores in results.scores.groupby("task"):
        measures = [one for one in results.judged if one.task == task]
        errors = scores.groupby("metric")["stderr"].median().dropna()
        moved = [
            f"{one.metric.title} by about {errors[one.metric.name]:.2g}"
            for one in measures
            if errors.get(one.metric.name, 0) > 0
        ]
        if moved and scores["n"].max() < FEW_ITEMS:
            found.append(
                f"{task} has {scores['n'].max()} items. Another draw of items would move "
                f"{', '.join(moved)} (standard error over items), which the spread over seeds "
                "doesn't show. Methods share their items, so their differences usually move less."
            )
    return found


def _limits_of_methods(cards: dict[str, Method]) -> list[str]:
    known_from_abstract = [name for name, card in cards.items() if card.evidence == "abstract"]
    cached = [name for name, card in cards.items() if card.teacher == "cache"]
    found = []
    if known_from_abstract:
        found.append(
            f"Of {', '.join(known_from_abstract)} no more than an abstract was read: a low score "
            "may be due to our reading of it."
        )
    if cached:
        found.append(
            f"{', '.join(cached)} saw the teacher's most likely tokens and one bucket for the "
            "rest, not its whole distribution."
        )
    return found
