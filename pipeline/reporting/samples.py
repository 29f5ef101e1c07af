"""What the models wrote, side by side, for a few items of each task."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from pipeline.reporting.inputs import Inputs
from pipeline.reporting.scores import Results, Row
from pipeline.reporting.tables import pair_title

ITEMS = 5  # of each task
Item = tuple[str, str]  # task and example
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
    written = {place: texts[id] for place, id in _first_evaluations(inputs.grid).items()}
    found = []
    for item in _chosen(inputs.outputs.values()):
        shown = next(of[item] for of in texts.values() if item in of)
        answers = {
            pair: _answers((*results.references[pair], *results.methods[pair]), written, item)
            for pair in results.pairs
        }
        found.append(
            Sample(
                *item,
                clipped(shown.prompt),
                tuple(clipped(text) for text in shown.references),
                tuple(Answers(pair_title(pair, sizes), of) for pair, of in answers.items()),
            )
        )
    return found


def _by_item(table: pd.DataFrame) -> dict[Item, tuple]:
    return {(row.task, row.example_id): row for row in table.itertuples(index=False)}


def _first_evaluations(grid: pd.DataFrame) -> dict[tuple[str, str, str], str]:
    """The evaluation of the lowest seed of each row of the main table."""
    ordered = grid.sort_values("seed", kind="stable", ascending=False)
    places = zip(ordered["teacher"], ordered["student"], ordered["method"], strict=True)
    return dict(zip(places, ordered["eval_id"], strict=True))


def _chosen(tables: Iterable[pd.DataFrame]) -> list[Item]:
    together = pd.concat([table[["task", "example_id"]] for table in tables]).drop_duplicates()
    chosen = []
    for task, rows in together.groupby("task"):
        ids = sorted(rows["example_id"])
        count = min(ITEMS, len(ids))
        chosen += [(task, ids[place * len(ids) // count]) for place in range(count)]
    return chosen


def _answers(
    rows: Iterable[Row], written: Mapping[tuple[str, str, str], dict[Item, tuple]], item: Item
) -> tuple[Answer, ...]:
    found = []
    for row in rows:
        texts = written[row.teacher, row.student, row.method]
        if row.kind in ("teacher", "method") and item in texts:
            found.append(Answer(row.label, clipped(texts[item].output)))
    return tuple(found)


def clipped(text: str) -> str:
    """The beginning of a long text, with a note of what is left out."""
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]} … ({len(text) - LONGEST} more characters)"
