"""How a model writes text."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.methods.ranges import Count, NonNegative, PositiveShare
from pipeline.settings.base import Settings


class Sampling(Settings):
    """How the next token is sampled. Temperature 0 is greedy decoding."""

    temperature: NonNegative = 1.0
    top_p: PositiveShare = 1.0
    top_k: Annotated[int, Field(ge=0)] = 0  # 0: all


class TextSettings(Settings):
    """The texts that a model writes for training prompts."""

    sampling: Sampling = Sampling()
    samples: Count = 1  # responses to each prompt
    prompts: Count | None = None  # how many training prompts, drawn by the seed; null: all
    max_new_tokens: Count = 256
    seed: int = 0


class TextJob(TextSettings):
    """The settings of a job that generates texts."""

    half: Literal["first", "second"] | None = None  # of the prompts, split by the seed; null: both
