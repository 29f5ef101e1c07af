"""A reward model as a judge: a number for each response."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.artifacts.schemas import Row
from pipeline.evaluation.judge_prompts import Answer
from pipeline.models.reward import reward
from pipeline.runtime.progress import ProgressLog


@dataclass(frozen=True)
class RewardModel:
    """A sequence classifier with one label, and its tokenizer."""

    name: str  # of the judge in the configuration
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    def answers(self, rows: Sequence[Row]) -> list[Answer]:
        """The rewards of the responses in rows of OUTPUTS, as texts."""
        answers, progress = [], ProgressLog(self.name, len(rows), "responses")
        for row in rows:
            value = repr(reward(self.model, self.tokenizer, row["prompt"], row["output"]))
            answers.append(Answer(value, value, nan))
            progress.step(1)
        return answers
