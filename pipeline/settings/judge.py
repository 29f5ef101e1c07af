"""Models that judge generated responses."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.methods.ranges import Count, Line, Name, NonNegativeCount, Text
from pipeline.settings.base import Settings
from pipeline.settings.endpoint import AnyEndpoint, Api

CRITERIA = "whether it does what was asked, and how helpful, accurate, relevant and clear it is"
Kind = Literal["pairwise", "rubric", "reward"]
GOLD = "gold"  # the reference response, as an opponent


class Judge(Settings):
    """A model that compares each response with another, or rates it."""

    model: Line  # of models, used as it is; or as the endpoint names it
    endpoint: AnyEndpoint | None = None  # the address of a server with the OpenAI API; null: none
    answer_tokens: Count = 16  # of an endpoint's answer: more for a model that thinks before it
    kind: Kind = "pairwise"  # rubric: a rating from 1 to 10; reward: the number of a reward model
    against: Name = GOLD  # the other response: gold, teacher, start, untrained, or a row of methods
    criteria: Text = CRITERIA  # what the judge is told to look at
    tasks: Annotated[list[Line], Field(min_length=1)] | None = None  # null: all with responses


class Opponent(Settings):
    """An evaluation with the responses to compare with."""

    evaluation: str  # artifact id
    teacher: str  # artifact id of the cell's teacher, in whose tables the comparison stands


class JudgeJob(Settings):
    """The settings of a job that judges the responses of one evaluation."""

    later_keys = ("served_model", "api", "answer_tokens")

    judge: Name  # its name in the configuration, which its measures bear
    kind: Kind
    criteria: Text
    tasks: list[str]
    opponents: list[Opponent] | None  # null: the reference responses, or none of a rubric
    served_model: Line | None = None  # as the endpoint names it; null: a model artifact judges
    api: Api = "chat"  # of the endpoint
    answer_tokens: NonNegativeCount = 0  # of the endpoint's answers
