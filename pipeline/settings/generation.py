"""How a model writes text."""

from typing import Literal

from pydantic import model_validator

from pipeline.methods.ranges import Count, Line, NonNegative, NonNegativeCount, PositiveShare
from pipeline.settings.base import Settings
from pipeline.settings.endpoint import Api


class Sampling(Settings):
    """How the next token is sampled. Temperature 0 is greedy decoding."""

    temperature: NonNegative = 1.0
    top_p: PositiveShare = 1.0
    top_k: NonNegativeCount = 0  # 0: all


class TextSettings(Settings):
    """The texts that a model writes for training prompts."""

    sampling: Sampling = Sampling()
    samples: Count = 1  # responses to each prompt
    prompts: Count | None = None  # how many training prompts, drawn by the seed; null: all
    max_new_tokens: Count = 256
    seed: NonNegativeCount = 0

    @model_validator(mode="after")
    def _samples_differ(self) -> "TextSettings":
        if self.samples > 1 and not self.sampling.temperature:
            raise ValueError(
                f"samples = {self.samples}: at temperature 0 all responses to a prompt are equal"
            )
        return self


class TextJob(TextSettings):
    """The settings of a job that generates texts."""

    half: Literal["first", "second"] | None = None  # of the prompts, split by the seed; null: both


class ServedTextJob(TextJob):
    """The settings of a job that asks an endpoint for texts; its address is no part of a result."""

    served_model: Line  # as the server names it
    api: Api
