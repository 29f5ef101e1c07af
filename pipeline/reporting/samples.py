"""What the models wrote, side by side, for a few items of each task."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from pipeline.reporting.inputs import Inputs
from pipeline.reporting.scores import Pair, Results, Row
from pipeline.reporting.tables import pair_title

ITEMS = 5  # of each task
LONGEST = 1500  # characters that are shown of a text


@dataclass(frozen=True)
class Answer:
    """What one model wrote."""

    label: str
    text: str


@dataclass(frozen=True)
class Answers:
    """What the models of a pair wrote."""

    title: str
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class Sample:
    """An item of a task with everybody's answer."""

    task: str
    example_id: str
    prompt: str
    references: tuple[str, ...]
    groups: tuple[Answers, ...]


def samples(inputs: Inputs, results: Results, sizes: Mapping[str, int]) -> list[Sample]:
    """Evenly spaced items of each task, answered by each teacher and by each first seed."""
    texts = {id: _by_item(table) for id, table in inputs.outputs.items()}
    evaluations = _first_evaluations(inputs.grid)
    found = []
    for task, example in _chosen(inputs.outputs.values()):
        groups = tuple(
            Answers(
                pair_title(pair, sizes), _answers(results, pair, evaluations, texts, task, example)
            )
            for pair in results.pairs
        )
        shown = next(of[task, example] for of in texts.values() if (task, example) in of)
        references = tuple(clipped(text) for text in shown.references)
        found.append(Sample(task, example, clipped(shown.prompt), references, groups))
    return found


def _by_item(table: pd.DataFrame) -> dict[tuple[str, str], tuple]:
    return {(row.task, row.example_id): row for row in table.itertuples(index=False)}


def _first_evaluations(grid: pd.DataFrame) -> dict[tuple[str, str, str], str]:
    """The evaluation of the lowest seed of each row of the main table."""
    ordered = grid.sort_values("seed", kind="stable", ascending=False)
    places = zip(ordered["teacher"], ordered["student"], ordered["method"], strict=True)
    return dict(zip(places, ordered["eval_id"], strict=True))


def _chosen(tables: Iterable[pd.DataFrame]) -> list[tuple[str, str]]:
    together = pd.concat([table[["task", "example_id"]] for table in tables]).drop_duplicates()
    chosen = []
    for task, rows in together.groupby("task"):
        ids = sorted(rows["example_id"])
        count = min(ITEMS, len(ids))
        chosen += [(task, ids[place * len(ids) // count]) for place in range(count)]
    return chosen


def _answers(
    results: Results,
    pair: Pair,
    evaluations: Mapping[tuple[str, str, str], str],
    texts: Mapping[str, dict[tuple[str, str], tuple]],
    task: str,
    example: str,
) -> tuple[Answer, ...]:
    def shown(row: Row) -> bool:
        return row.kind in ("teacher", "method") and (task, example) in texts[id_of(row)]

    def id_of(row: Row) -> str:
        return evaluations[row.teacher, row.student, row.method]

    rows = (*results.references[pair], *results.methods[pair])
    return tuple(
        Answer(row.label, clipped(texts[id_of(row)][task, example].output))
        for row in rows
        if shown(row)
    )


def clipped(text: str) -> str:
    """The beginning of a long text, with a note of what is left out."""
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]} … ({len(text) - LONGEST} more characters)"
