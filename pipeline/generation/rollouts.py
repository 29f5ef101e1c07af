"""Training steps that keep some texts as drawn and generate new responses for the others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from pipeline.data.batch import Text
from pipeline.generation import AnySampler, generate
from pipeline.runtime.ranks import ALONE, Ranks

STORED = ("example_id", "prompt_ids", "response_ids", "by_teacher", "ended", "log_probs")


@dataclass(frozen=True)
class StepContext:
    """A step of training, as a data policy sees it."""

    step: int  # from 0
    steps: int
    epoch: int  # completed passes over the train set
    train_set: Sequence[Text]  # all texts that batches are drawn from
    student: PreTrainedModel
    teacher: PreTrainedModel | None
    max_new_tokens: int
    seed: int  # another one at each step
    rng: np.random.Generator  # seeded with it
    state: dict[str, Any]  # what the policy carries from step to step
    ranks: Ranks = ALONE  # which write a share of the texts each, and all get them all


def regenerate(
    batch: Sequence[Text],
    share: float,
    models: Sequence[PreTrainedModel],
    token_sampler: AnySampler,
    context: StepContext,
) -> list[Text]:
    """The drawn texts, each with a new response with probability `share`; unchanged ones first."""
    chosen = context.rng.random(len(batch)) < share
    prompts = [text for text, is_chosen in zip(batch, chosen, strict=True) if is_chosen]
    unchanged = [text for text, is_chosen in zip(batch, chosen, strict=True) if not is_chosen]
    return unchanged + respond(prompts, models, token_sampler, context)


def respond(
    prompts: Sequence[Text],
    models: Sequence[PreTrainedModel],
    token_sampler: AnySampler,
    context: StepContext,
) -> list[Text]:
    """New responses to prompts, in their order: each rank writes a share, all get every text."""
    most, seed, ranks = context.max_new_tokens, context.seed, context.ranks
    return generate(prompts, models, token_sampler, most, seed, "student", ranks=ranks)


def stored(rollouts: Sequence[Text]) -> list[dict[str, Any]]:
    """Rollouts as a policy's state keeps them."""
    return [{name: getattr(text, name) for name in STORED} for text in rollouts]


def restored(entries: Sequence[dict[str, Any]]) -> list[Text]:
    """The rollouts of a state."""
    return [Text(author="student", **entry) for entry in entries]


def student_and_teacher(context: StepContext) -> list[PreTrainedModel]:
    """The models of an interleaved policy. Raises ValueError without a live teacher."""
    if context.teacher is None:
        raise ValueError("this data policy asks the teacher for tokens; its method needs 'live'")
    return [context.student, context.teacher]
