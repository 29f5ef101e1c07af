"""A whole experiment: what `config.yaml` may hold."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from pipeline.methods.components import Kind
from pipeline.methods.ranges import Count, Line, Name, NonNegative, NonNegativeCount, Share
from pipeline.settings.base import Settings, or_text_of
from pipeline.settings.contrasts import ContrastFamily
from pipeline.settings.data import DataSettings, TokensSettings
from pipeline.settings.endpoint import AnyEndpoint, Endpoint
from pipeline.settings.evaluation import Evaluation
from pipeline.settings.generation import TextSettings
from pipeline.settings.judge import Judge
from pipeline.settings.models import Model, Tokenizer
from pipeline.settings.teacher import CacheSettings, Combination, Draws
from pipeline.settings.training import Training
from pipeline.settings.tuning import Tuning

Names = Annotated[list[Name], Field(min_length=1)]
Overrides = dict[str, Any]  # of training; checked when they are merged


class Teacher(Settings):
    """A model and how its training differs from `training`; null: it is used as it is.

    A model behind an endpoint gives text alone, and isn't trained here.
    """

    later_keys = ("endpoint", "tokenizer")

    model: Line  # of models, or as the endpoint names it
    training: Overrides | None = {}
    endpoint: AnyEndpoint | None = None  # the address of a server with the OpenAI API; null: none
    # of a vocabulary that isn't the students': one that is trained for a shape, or the model's own
    tokenizer: Tokenizer | Literal["own"] | None = None

    @model_validator(mode="after")
    def _is_trained_here(self) -> "Teacher":
        has = "training" if "training" in self.model_fields_set else "tokenizer"
        if self.endpoint is not None and (has == "training" or self.tokenizer is not None):
            raise ValueError(f"{has}: a model behind an endpoint is not trained here; leave it out")
        return self


class Student(Settings):
    """A model and how the training of all its methods differs from `training`."""

    model: Name
    training: Overrides = {}


class Part(Settings):
    """A loss, a data policy or a teacher update by its file's name, with its hyperparameters."""

    model_config = ConfigDict(extra="allow", frozen=True)  # its own file checks the extra keys

    name: Name

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The hyperparameters that stand beside the name."""
        return dict(self.model_extra or {})


PartOrName = Annotated[Part, or_text_of("name")]


class MethodChoice(Settings):
    """A row of the tables: a method of the catalogue, or a loss and a policy put together."""

    model_config = ConfigDict(extra="allow", frozen=True)  # the catalogue checks the extra keys

    method: Name | None = None  # null: the method of the row's own name
    loss: PartOrName | None = None  # instead of the method's own, as below
    policy: PartOrName | None = None
    update: PartOrName | None = None
    features: PartOrName | None = None  # a term on hidden states, added to the loss
    teacher: Literal["cache", "live"] | None = None  # null: what the catalogue says, as below
    # several, instead of the grid's: names, or how they are combined, too
    teachers: Combination | None = None
    text: Literal["gold", "teacher"] | None = None  # whose responses the fixed texts have
    gold_weight: Share | None = None  # share of cross entropy, on text the student didn't write
    plain_text_weight: NonNegative | None = None  # of a language-modelling term on plain text
    plain_text_kl: Share | None = None  # share of forward KL to a live teacher in that term
    draws: Draws | None = None  # tokens drawn from the teacher at each place, for what samples it
    relabelling_stages: Count | None = None  # rounds of paired students before the last one
    training: Overrides = {}
    initial_sft: Overrides | None = None  # a missing key: the experiment's; null: none

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The hyperparameters that a row sets, of whichever of its parts has them."""
        return dict(self.model_extra or {})

    @property
    def parts(self) -> dict[Kind, Part]:
        """The parts that replace those of the method, or make it up."""
        parts: dict[Kind, Part | None] = {
            "losses": self.loss,
            "data_policies": self.policy,
            "teacher_updates": self.update,
            "feature_losses": self.features,
        }
        return {kind: part for kind, part in parts.items() if part}


class Block(Settings):
    """A full product of cells; null means all that the experiment defines."""

    teachers: Names | None = None
    students: Names | None = None
    methods: Names | None = None
    seeds: Annotated[list[NonNegativeCount], Field(min_length=1)] = [1]


@dataclass(frozen=True)
class FullBlock:
    """A block of the grid with the names that null stands for."""

    teachers: list[str]
    students: list[str]
    methods: list[str]
    seeds: list[int]


class ReportChoices(Settings):
    """What the report shows first, and the questions that it answers."""

    later_keys = ("contrasts",)

    primary: Annotated[list[str], Field(min_length=1, max_length=4)] | None = None
    # measures as task/metric, of the first table and plot; null: see Results.primary_measures
    contrasts: Annotated[
        dict[Name, ContrastFamily],
        Field(
            examples=[
                {
                    "gain": {
                        "measures": ["heldout/nll_nats"],
                        "contrasts": {"jsd_gains": {"jsd": 1, "sft": -1}},
                    }
                }
            ]
        ),
    ] = {}  # families of tests, by name


class Experiment(Settings):
    """An experiment: one protocol for all cells of its grid."""

    renamed_keys = {"warmup": "initial_sft", "student_text_tokens": "rollout_tokens"}

    experiment: Annotated[Name, Field(examples=["mine"])]
    protocol: Name | None = None  # whose published numbers the report sets beside ours; null: none
    seed: NonNegativeCount = 0
    data: Annotated[
        DataSettings, Field(examples=[{"examples": {"source": "files", "train": "mine.jsonl"}}])
    ]
    tokens: TokensSettings = TokensSettings()
    tokenizer: Tokenizer | None = None
    models: Annotated[
        dict[Name, Model],
        Field(min_length=1, examples=[{"big": {"source": "path", "path": "folder/of/the/model"}}]),
    ]
    teachers: Annotated[
        dict[Name, Teacher], Field(min_length=1, examples=[{"big": {"model": "big"}}])
    ]
    students: Annotated[
        dict[Name, Student], Field(min_length=1, examples=[{"small": {"model": "small"}}])
    ]
    training: Annotated[Training, Field(examples=[{"steps": 250}])]
    initial_sft: Overrides | None = None  # SFT that all methods of a student start from; null: none
    teacher_text: TextSettings = TextSettings()
    teacher_cache: CacheSettings = CacheSettings()
    rollout_tokens: Count = 256  # longest response that a student writes in training
    methods: Annotated[
        dict[Name, MethodChoice | None],
        Field(min_length=1, examples=[{"sft": None, "forward_kl": {"teacher": "live"}}]),
    ]
    tuning: Tuning | None = None  # the search for each method's settings; null: none
    grid: Annotated[list[Block], Field(min_length=1, examples=[[{"seeds": [1, 2, 3]}]])]
    evaluation: Evaluation = Evaluation()
    report: ReportChoices = ReportChoices()

    @property
    def blocks(self) -> list[FullBlock]:
        """The blocks of the grid, with all their names."""
        return [
            FullBlock(
                block.teachers or list(self.teachers),
                block.students or list(self.students),
                block.methods or list(self.methods),
                block.seeds,
            )
            for block in self.grid
        ]

    @property
    def rows(self) -> dict[str, MethodChoice]:
        """The rows of the tables, with what null stands for."""
        return {name: row or MethodChoice() for name, row in self.methods.items()}

    @property
    def local_teachers(self) -> dict[str, Teacher]:
        """The teachers whose models are at hand."""
        return {name: each for name, each in self.teachers.items() if each.endpoint is None}

    @property
    def endpoints(self) -> dict[str, tuple[str, Endpoint]]:
        """The model and the endpoint behind each key that names one."""
        judges = self.evaluation.judges.items()
        named: dict[str, Teacher | Judge] = {f"teachers.{k}": v for k, v in self.teachers.items()}
        named |= {f"evaluation.judges.{name}": judge for name, judge in judges}
        return {key: (each.model, each.endpoint) for key, each in named.items() if each.endpoint}
