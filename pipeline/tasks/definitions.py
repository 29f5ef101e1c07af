"""The task definitions beside this file: what they say, and which there are."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, TypeAdapter

from pipeline.methods.ranges import Count, Name
from pipeline.settings.base import Settings
from pipeline.settings.data import Columns, Template
from pipeline.settings.evaluation import (
    TEST_SPLIT_TASKS,
    ColumnMap,
    ItemSource,
    ScoredBy,
    TextSplit,
)
from pipeline.settings.generation import Sampling

FOLDER = Path(__file__).parent
RESPONSES = "responses"


class Definition(Settings):
    """The title and description of a definition."""

    title: str
    about: str
    source: str  # whom to cite


class InstructionTask(Definition):
    """Prompts to answer, with reference responses or answers."""

    kind: Literal["instruction"]
    data: ItemSource | None  # null: the experiment's own test split
    columns: Columns = Columns()
    template: Template | None = Template()  # null: the experiment's
    scored_by: ScoredBy = "references"
    first: Count | None = None  # rows of the source; null: all
    sampling: Sampling | None = None  # null: the experiment's


class LmEvalTask(Definition):
    """A task of lm-eval: what differs from its own, and how local files of it look."""

    kind: Literal["lm_eval"]
    task: str | None = None  # lm-eval's name; null: the definition's
    shots: Count | None = None  # null: as lm-eval has it
    columns: ColumnMap | None = None
    text: TextSplit | None = None
    exclude: dict[str, list[str]] = Field(default_factory=dict)
    nltk: str | None = None


class Suite(Definition):
    """Several tasks under one protocol."""

    kind: Literal["suite"]
    tasks: Annotated[list[Name], Field(min_length=1)]
    template: Template | None = None
    sampling: Sampling | None = None


AnyDefinition = Annotated[InstructionTask | LmEvalTask | Suite, Field(discriminator="kind")]


@cache
def names() -> tuple[str, ...]:
    """All that are defined here, suites too."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


@cache
def read(name: str) -> InstructionTask | LmEvalTask | Suite:
    """A definition. Raises ValueError, naming the file, where it is none."""
    path = FOLDER / f"{name}.yaml"
    try:
        return TypeAdapter(AnyDefinition).validate_python(yaml.safe_load(path.read_bytes()))
    except ValueError as error:
        raise ValueError(f"{path} defines no task: {error}") from None


@dataclass(frozen=True)
class Task:
    """A task of an evaluation under the name it was listed by."""

    name: str
    base: str  # the task whose data it reads: `evaluation.data` names it so
    definition: InstructionTask | LmEvalTask


@cache
def expand(name: str) -> tuple[Task, ...]:
    """The tasks behind a name.

    A suite with prompts or decoding of its own puts its name before those of its tasks. A name
    that is not defined here is lm-eval's, taken as it is.
    """
    if name not in names():
        plain = LmEvalTask(title=name, about="", source="lm-eval", kind="lm_eval")
        return (Task(name, name, plain),)
    definition = read(name)
    if not isinstance(definition, Suite):
        return (Task(name, name, definition),)
    members = (task for member in definition.tasks for task in expand(member))
    return tuple(_in_suite(name, definition, task) for task in members)


def _in_suite(name: str, suite: Suite, task: Task) -> Task:
    own = {"template": suite.template, "sampling": suite.sampling}
    changes = {key: value for key, value in own.items() if value is not None}
    if not changes or not isinstance(task.definition, InstructionTask):
        return task
    return Task(f"{name}_{task.name}", task.base, task.definition.model_copy(update=changes))


def listed_tasks(names: Sequence[str]) -> list[Task]:
    """The tasks behind a list of names but for those of the test split, with suites expanded."""
    own = (name for name in names if name not in TEST_SPLIT_TASKS)
    return [task for name in own for task in expand(name)]


def tasks_with_responses(names: Sequence[str]) -> list[str]:
    """The tasks behind a list of names whose answers are free text: what a judge may read."""
    own = listed_tasks(names)
    answered = [task.name for task in own if isinstance(task.definition, InstructionTask)]
    return [name for name in names if name == RESPONSES] + answered
