"""The items of an instruction task: prompts and references, as typed as the experiment's data."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts import schemas
from pipeline.data.examples import Example, assign_ids, example_columns
from pipeline.data.rows import read_rows
from pipeline.data.stored_examples import StoredExamples, stored
from pipeline.settings.data import ChatTemplate
from pipeline.settings.evaluation import InstructionJob, LocalFiles
from pipeline.tasks import hub
from pipeline.tasks.contamination import Contamination, contaminated_examples
from pipeline.tasks.item_rows import check_answer, to_item

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


def of_test_split(job: InstructionJob, data: Path, train: Sequence[Example]) -> TaskItems:
    """The items of the experiment's own test split. Raises ValueError for one without an answer."""
    columns = schemas.read(data / "test.parquet", schemas.EXAMPLES).to_pydict()
    ids, examples = columns["example_id"], read_split(data, "test")
    if job.scored_by == "answers":
        for name, example in zip(ids, examples, strict=True):
            check_answer(example, name, job.task)
    shared = contaminated_examples(ids, examples, train)
    return TaskItems(columns, examples, hub.Origin("the test split", None), shared)


def gather(job: InstructionJob, train: Sequence[Example]) -> TaskItems:
    """The items in the order of their source. Raises ValueError for a row that makes none."""
    if isinstance(job.source, LocalFiles):
        rows = [row for path in job.source.paths for row in read_rows(Path(path))]
        origin = hub.Origin(", ".join(job.source.paths), None)
    else:
        assert job.source is not None
        rows, origin = hub.rows(job.source)
    are_chats = isinstance(job.template, ChatTemplate)
    examples = [
        to_item(row, job.task, job.columns, job.scored_by, are_chats=are_chats)
        for row in rows[: job.first]
    ]
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
