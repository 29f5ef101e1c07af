"""The tasks that a checkpoint is evaluated on, and how."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from pipeline.methods.ranges import Count, Line, Name, NonNegativeCount
from pipeline.settings.base import Settings
from pipeline.settings.data import AnyTemplate, ChatTemplate, Columns
from pipeline.settings.generation import Sampling
from pipeline.settings.judge import Judge

TEST_SPLIT_TASKS = ("heldout", "responses", "exposure")  # of the experiment's own test split
Paths = Annotated[list[Line], Field(min_length=1)]
# the likeness to references (ROUGE-L), or whether the answer is the reference's
ScoredBy = Literal["references", "answers"]
ColumnMap = dict[str, object]  # column of ours -> column of theirs: pipeline.tasks.local_documents


class LocalFiles(Settings):
    """Local data in place of a task's own: files of its evaluation split, or of several splits.

    A folder stands for a data set of the hub that was copied whole.
    """

    filled_in = ("digests",)

    files: Paths | dict[Line, Paths]
    columns: ColumnMap | None = None  # null: as the task's definition says
    digests: dict[str, str] = {}  # of the files, filled in by workflow.grid.evaluations

    @property
    def by_split(self) -> dict[str, list[str]]:
        """The files of each split; the evaluation split has the name `evaluation`."""
        return self.files if isinstance(self.files, dict) else {"evaluation": self.files}

    @property
    def paths(self) -> list[str]:
        """All of the files."""
        return [path for files in self.by_split.values() for path in files]


class HubDataset(Settings):
    """A data set of the Hugging Face hub in place of a task's own."""

    hub: Line
    config: Line | None = None
    revision: Line = "main"
    split: Line | None = None  # or a file of the data set; null: as the definition says
    columns: ColumnMap | None = None


def _as_local(value: object) -> object:
    """A path, a list of them, or a block whose `files` is one."""
    if isinstance(value, str):
        return {"files": [value]}
    if isinstance(value, list):
        return {"files": value}
    if isinstance(value, dict) and isinstance(value.get("files"), str):
        return value | {"files": [value["files"]]}
    return value


def _kind_of_data(value: object) -> str:
    """The kind of data that a block is about, however faulty it is."""
    if isinstance(value, HubDataset):
        return "of the hub"
    names = set(value) if isinstance(value, dict) else {"files"}
    is_local = "files" in names or not names & {"hub", "config", "revision", "split"}
    return "local" if is_local else "of the hub"


Data = Annotated[
    Annotated[LocalFiles, Tag("local")] | Annotated[HubDataset, Tag("of the hub")],
    Discriminator(_kind_of_data),
    BeforeValidator(_as_local),
]


class Evaluation(Settings):
    """The tasks of every checkpoint, teachers and untrained starts included."""

    later_keys = ("judges", "few_shot", "task_folder")

    tasks: Annotated[list[Line], Field(min_length=1)] = ["heldout", "responses"]
    task_folder: Line | None = None  # with tasks of the user's own, as lm-eval has them; null: none
    data: dict[Line, Data] = {}  # of a task, in place of what its definition names
    items: Count | None = None  # of each task, drawn by the seed; null: all
    sampling: Sampling = Sampling(temperature=0)
    decoding_seeds: Annotated[list[NonNegativeCount], Field(min_length=1)] = [0]
    max_new_tokens: Count = 256
    prompt_tokens: Count | None = None  # of instruction tasks: longer ones are left out
    few_shot: NonNegativeCount = 0  # training examples before each question of instruction tasks
    seed: NonNegativeCount = 0
    judges: dict[Name, Judge] = {}  # of the generated responses


class GenerationSettings(Settings):
    """How the responses of a task are written."""

    later_keys = ("prompt_tokens",)

    sampling: Sampling
    decoding_seeds: list[int]
    max_new_tokens: Count
    prompt_tokens: Count | None = None  # the longest prompt that is asked; null: all are

    @model_validator(mode="after")
    def _draws_or_not(self) -> "GenerationSettings":
        if not self.sampling.temperature and self.decoding_seeds != [0]:
            raise ValueError("nothing is drawn at temperature 0: the only decoding seed is 0")
        return self


class EvaluationTask(Settings):
    """A task of an evaluation job."""

    name: str
    generation: GenerationSettings | None  # null: it writes as lm-eval defines it, or not at all


class EvaluationJob(Settings):
    """The settings of an evaluation job."""

    later_keys = ("chat", "per_byte")

    tasks: list[EvaluationTask]
    items: Count | None
    seed: int
    chat: ChatTemplate | None = None  # that lm-eval asks through; null: it asks in plain text
    per_byte: bool = False  # held-out measures that compare vocabularies, too


class ItemSource(Settings):
    """The location of a task's items on the hub or the web."""

    name: str | None = None  # of the data set
    config: str | None = None
    revision: str = "main"
    split: str | None = None  # or a file of the data set
    url: str | None = None  # of a file, in place of a data set

    @model_validator(mode="after")
    def _is_one(self) -> "ItemSource":
        if (self.name is None) == (self.url is None):
            raise ValueError("a source is the `name` of a data set or the `url` of a file")
        return self


class TextSplit(Settings):
    """How documents are cut out of a plain text file."""

    column: str
    begins: str  # a pattern that the first line of each document fits


class InstructionJob(Settings):
    """The settings of a job that prepares an instruction task."""

    later_keys = ("scored_by", "few_shot")

    kind: Literal["instruction"]
    task: str
    source: LocalFiles | ItemSource | None  # null: the experiment's own test split
    columns: Columns
    template: AnyTemplate
    first: Count | None  # rows of the source; null: all
    scored_by: ScoredBy = "references"
    few_shot: NonNegativeCount = 0  # examples of the training split before each question


class TaskFolder(Settings):
    """The folder with a task of the user's own, and the digests of what the task may read."""

    path: str
    files: dict[str, str]  # of the folder, by their paths in there
    data: dict[str, str] = {}  # files and folders elsewhere that its YAML names


class LmEvalJob(Settings):
    """The settings of a job that prepares the documents of an lm-eval task."""

    later_keys = ("folder",)

    kind: Literal["lm_eval"]
    task: str
    lm_eval_task: str  # lm-eval's own name of it
    version: str  # of lm-eval: the prompts come with it
    shots: NonNegativeCount | None  # null: as lm-eval has it
    source: LocalFiles | HubDataset | None  # null: the data set that lm-eval names
    columns: ColumnMap | None
    text: TextSplit | None
    exclude: dict[str, list[str]]  # documents left out: those that list such a value in a column
    nltk: str | None  # what its measures need of NLTK's data
    folder: TaskFolder | None = None  # that defines the task; null: lm-eval itself does


class TaskJob(Settings):
    """The settings of a job that prepares a task."""

    task: Annotated[InstructionJob | LmEvalJob, Field(discriminator="kind")]
