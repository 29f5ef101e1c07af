"""Every token is drawn from a mixture of teacher and student.

Y. Gu, L. Dong, F. Wei, M. Huang, 2024. MiniLLM: Knowledge Distillation of Large Language Models.
arXiv:2306.08543, section 2.2: p̃ = α p + (1 - α) q, temperature 1. Its log-probabilities go with the
text, for the importance weight q / p̃. A token is drawn by first choosing the model at random, which
gives the same distribution and says whose token it is.

`rollout_texts` texts are generated at a time, to prompts drawn without replacement, and serve
`passes` passes, each in another order; a step that they don't fill has new ones. The source makes 4
passes over 256 texts; by default each step has texts of its own. The student moves away from the
one that wrote, which the importance weight accounts for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.data.batch import Text
from pipeline.distributions.log_probs import target_log_prob
from pipeline.generation import Logits, SampledTokens, from_either
from pipeline.generation.rollouts import (
    StepContext,
    respond,
    restored,
    stored,
    student_and_teacher,
)
from pipeline.methods.ranges import Count, NonNegativeCount, Share


@dataclass(frozen=True)
class Policy:
    """Samples from a teacher-student mixture, which prevents reward hacking."""

    is_off_policy = False
    decoding_passes = 2.0
    teacher_writes = True
    samples_every_text_where = ()  # always

    teacher_share: Share = 0.2  # α
    rollout_texts: NonNegativeCount = 0  # generated at a time; 0, or less than a step's: a step's
    passes: Count = 1  # over the texts that were generated together

    def texts(self, batch: Sequence[Text], context: StepContext) -> list[Text]:
        """Responses to the drawn prompts, or to those of a set of texts for several steps."""
        if self.passes == 1 and self.rollout_texts <= len(batch):
            return self.write(batch, context)
        state = context.state
        if len(state.get("queue", [])) < len(batch):
            prompts = self.prompts(batch, context)
            state["texts"] = stored(self.write(prompts, context))
            orders = [context.rng.permutation(len(prompts)).tolist() for _ in range(self.passes)]
            state["queue"] = [place for order in orders for place in order]
        places, state["queue"] = state["queue"][: len(batch)], state["queue"][len(batch) :]
        return restored([state["texts"][place] for place in places])

    def prompts(self, batch: Sequence[Text], context: StepContext) -> Sequence[Text]:
        """The prompts of the next set: the drawn ones, or more of the train set."""
        if min(self.rollout_texts, len(context.train_set)) <= len(batch):
            return batch
        order = context.rng.permutation(len(context.train_set))[: self.rollout_texts]
        return [context.train_set[place] for place in order]

    def write(self, prompts: Sequence[Text], context: StepContext) -> list[Text]:
        """New responses to all prompts, sampled from both models."""
        return respond(prompts, student_and_teacher(context), self.choose, context)

    def choose(
        self,
        logits: Sequence[Logits],
        position: Int[Tensor, " batch"],
        uniform: Float[Tensor, "batch draws"],
    ) -> SampledTokens:
        """The teacher's token with probability α, else the student's."""
        chosen = from_either(uniform[:, 2] < self.teacher_share, logits, position, uniform)
        student_part, teacher_part = (
            target_log_prob(model_logits.log_softmax(-1), chosen.tokens) + _log(share)
            for model_logits, share in zip(
                logits, (1 - self.teacher_share, self.teacher_share), strict=True
            )
        )
        return replace(chosen, log_probs=torch.logaddexp(student_part, teacher_part))


def _log(share: float) -> float:
    return math.log(share) if share else -math.inf
