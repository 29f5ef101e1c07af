"""The items of an instruction task: prompts and references, as typed as the experiment's data."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts import schemas
from pipeline.data.examples import Example, assign_ids, example_columns
from pipeline.data.rows import read_rows, to_examples
from pipeline.settings.data import ChatTemplate
from pipeline.settings.evaluation import InstructionJob, LocalFiles
from pipeline.tasks import hub
from pipeline.tasks.contamination import Contamination, contaminated_examples

ITEMS = "items.parquet"
CARD = "task.json"  # of any task


@dataclass(frozen=True)
class TaskItems:
    """Items as the columns of EXAMPLES, where they come from, and their overlap with training."""

    columns: dict[str, list]
    origin: hub.Origin
    contamination: Contamination

    @property
    def count(self) -> int:
        """The number of items."""
        return len(self.columns["example_id"])


def gather(job: InstructionJob, train: Sequence[Example]) -> TaskItems:
    """The items in the order of their source. Raises ValueError for a row that makes none."""
    if isinstance(job.source, LocalFiles):
        rows = [row for path in job.source.paths for row in read_rows(Path(path))]
        origin = hub.Origin(", ".join(job.source.paths), None)
    else:
        rows, origin = hub.rows(job.source)
    try:
        examples = to_examples(
            rows[: job.first],
            job.columns,
            job.task,
            "refuse",
            are_chats=isinstance(job.template, ChatTemplate),
        )
    except ValueError as error:
        key = f"evaluation.data.{job.task}"
        raise ValueError(str(error).replace("data.examples", key)) from None
    items = assign_ids({"train": [], "validation": [], "test": examples}, job.template)["test"]
    shared = contaminated_examples([id for id, _ in items], examples, train)
    return TaskItems(example_columns(items, job.template), origin, shared)


def read_train(data: Path) -> list[Example]:
    """The training examples of a data artifact."""
    table = schemas.read(data / "train.parquet", schemas.EXAMPLES)
    return [
        Example(row["instruction"], row["input"], tuple(row["responses"]), row["source"])
        for row in table.to_pylist()
    ]
