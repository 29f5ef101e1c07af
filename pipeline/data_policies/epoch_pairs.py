"""The teacher's response to a prompt, side by side with what the student said at the epoch's start.

J. Ko, T. Chen, S. Kim, et al., 2025. DistiLLM-2: A Contrastive Approach Boosts the Distillation of
LLMs. arXiv:2503.07067; sampling from their repository (jongwooko/distillm-2). The student answers
all prompts as each epoch begins. Departures: the teacher's texts are written with the experiment's
own sampling; where a step straddles two epochs, it still has the earlier answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipeline.data.batch import Text
from pipeline.generation import sampler
from pipeline.generation.rollouts import StepContext, respond
from pipeline.methods.ranges import NonNegative, PositiveShare
from pipeline.settings.generation import Sampling

WRITTEN = ("response_ids", "ended", "log_probs")


@dataclass(frozen=True)
class Policy:
    """Each drawn text, and the student's own response to its prompt."""

    is_off_policy = False
    makes_pairs = True
    decoding_passes = 0.125  # once an epoch, in larger batches

    temperature: NonNegative = 0.8
    top_p: PositiveShare = 0.95

    def texts(self, batch: Sequence[Text], context: StepContext) -> list[Text]:
        """The drawn texts, then the student's response to each, generated once an epoch."""
        if context.state.get("epoch") != context.epoch:
            context.state["epoch"] = context.epoch
            context.state["answers"] = self.answers(context)
        answers = context.state["answers"]
        return [
            *batch,
            *(
                replace(text, author="student", earlier=(), **answers[text.example_id])
                for text in batch
            ),
        ]

    def answers(self, context: StepContext) -> dict[str, dict[str, Any]]:
        """The student's responses to every prompt of the train set, by example."""
        choose = sampler(Sampling(temperature=self.temperature, top_p=self.top_p))
        new = respond(context.train_set, [context.student], choose, context)
        return {text.example_id: {name: getattr(text, name) for name in WRITTEN} for text in new}
