"""Rows of a table as items of an instruction task."""

import math
from dataclasses import replace
from decimal import Decimal

from pipeline.data.examples import Example
from pipeline.data.rows import Row
from pipeline.data.rows_to_examples import to_example
from pipeline.settings.data import Columns
from pipeline.settings.evaluation import ScoredBy
from pipeline.tasks.answers import reference_answer


def to_item(
    row: Row, task: str, columns: Columns, scored_by: ScoredBy, *, are_chats: bool
) -> Example:
    """The item in a row. Raises ValueError for a row that makes none."""
    if scored_by == "answers":
        row = _with_text(row, columns.response)
    try:
        item = to_example(row, columns, task, "refuse", are_chats=are_chats)
    except ValueError as error:
        raise ValueError(str(error).replace("data.examples", f"evaluation.data.{task}")) from None
    assert item is not None
    if scored_by == "answers":
        check_answer(item, row.location, task)
    return item


def _with_text(row: Row, column: str) -> Row:
    """The row with the answer as text where it is a number.

    Raises: ValueError for one that is no number, as a missing value in a column of numbers is.
    """
    answer = row.values.get(column)
    if not isinstance(answer, int | float):
        return row
    if isinstance(answer, float):
        if not math.isfinite(answer):
            fault = f"{column!r} holds {answer}, which is no answer"
            raise ValueError(f"{row.location}: {fault}; fix or remove the row")
        answer = format(Decimal(repr(answer)), "f")  # as people write it, not 5e-05
    return replace(row, values=row.values | {column: str(answer)})


def check_answer(item: Example, name: str, task: str) -> None:
    """Raises ValueError for a reference in which a task that checks answers finds none."""
    for reference in item.responses:
        if reference_answer(reference) is None:
            raise ValueError(
                f"{name}: no answer to be checked in {reference!r:.80}; mark it as #### 42 or "
                rf"\boxed{{42}}, or name the column of the answer alone in "
                f"evaluation.data.{task}.columns.response"
            )
