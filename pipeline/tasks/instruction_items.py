"""The items of an instruction task: prompts and references, as typed as the experiment's data."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from pipeline.artifacts import schemas
from pipeline.data.examples import Example, assign_ids, example_columns
from pipeline.data.rows import Row, read_rows
from pipeline.data.rows_to_examples import to_example
from pipeline.data.stored_examples import StoredExamples, stored
from pipeline.settings.data import ChatTemplate
from pipeline.settings.evaluation import InstructionJob, LocalFiles
from pipeline.tasks import hub
from pipeline.tasks.answers import reference_answer
from pipeline.tasks.contamination import Contamination, contaminated_examples

ITEMS = "items.parquet"
CARD = "task.json"  # of any task


@dataclass(frozen=True)
class TaskItems:
    """Items, also as the columns of EXAMPLES, their origin, and their overlap with training."""

    columns: dict[str, list]
    examples: Sequence[Example]
    origin: hub.Origin
    contamination: Contamination

    @property
    def count(self) -> int:
        """The number of items."""
        return len(self.columns["example_id"])


def _with_text(row: Row, job: InstructionJob) -> Row:
    """The row, with the answer as text where a task that checks answers has it as a number.

    Raises: ValueError for one that is no number, as a missing value in a column of numbers is.
    """
    column = job.columns.response
    answer = row.values.get(column)
    if job.scored_by != "answers" or not isinstance(answer, int | float):
        return row
    if isinstance(answer, float):
        if not math.isfinite(answer):
            fault = f"{column!r} holds {answer}, which is no answer"
            raise ValueError(f"{row.location}: {fault}; fix or remove the row")
        answer = format(Decimal(repr(answer)), "f")  # as people write it, not 5e-05
    return replace(row, values=row.values | {column: str(answer)})


def of_test_split(job: InstructionJob, data: Path, train: Sequence[Example]) -> TaskItems:
    """The items of the experiment's own test split. Raises ValueError for one without an answer."""
    columns = schemas.read(data / "test.parquet", schemas.EXAMPLES).to_pydict()
    ids, examples = columns["example_id"], read_split(data, "test")
    _check_answers(job, ids, examples)
    shared = contaminated_examples(ids, examples, train)
    return TaskItems(columns, examples, hub.Origin("the test split", None), shared)


def _check_answers(job: InstructionJob, names: Sequence[str], examples: Sequence[Example]) -> None:
    """Raises ValueError for a reference in which a task that checks answers finds none."""
    if job.scored_by != "answers":
        return
    for name, example in zip(names, examples, strict=True):
        for reference in example.responses:
            if reference_answer(reference) is None:
                raise ValueError(
                    f"{name}: no answer to be checked in {reference!r:.80}; mark it as #### 42 or "
                    rf"\boxed{{42}}, or name the column of the answer alone in "
                    f"evaluation.data.{job.task}.columns.response"
                )


def gather(job: InstructionJob, train: Sequence[Example]) -> TaskItems:
    """The items in the order of their source. Raises ValueError for a row that makes none."""
    if isinstance(job.source, LocalFiles):
        rows = [row for path in job.source.paths for row in read_rows(Path(path))]
        origin = hub.Origin(", ".join(job.source.paths), None)
    else:
        assert job.source is not None
        rows, origin = hub.rows(job.source)
    rows = [_with_text(row, job) for row in rows[: job.first]]
    try:
        are_chats = isinstance(job.template, ChatTemplate)
        asked = [
            to_example(row, job.columns, job.task, "refuse", are_chats=are_chats) for row in rows
        ]
        examples = [example for example in asked if example]
    except ValueError as error:
        key = f"evaluation.data.{job.task}"
        raise ValueError(str(error).replace("data.examples", key)) from None
    _check_answers(job, [row.location for row in rows], examples)
    items = assign_ids({"train": [], "validation": [], "test": examples}, job.template)["test"]
    shared = contaminated_examples([id for id, _ in items], examples, train)
    return TaskItems(example_columns(items, job.template), examples, origin, shared)


def read_split(data: Path, split: str) -> StoredExamples:
    """The examples of a split of a data artifact, on disk."""
    batches = schemas.read_batches(data / f"{split}.parquet", schemas.EXAMPLES)
    return stored(
        Example(
            row["instruction"],
            row["input"],
            tuple(row["responses"]),
            row["source"],
            chat=row.get("chat") or "",
        )
        for batch in batches
        for row in batch.to_pylist()
    )
