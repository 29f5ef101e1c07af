"""The teacher learns from how its student does in an exam (IKD-style, first order, one step).

X. Liu, H. Tao, Y. Feng, D. Zhao, 2021. Learning to Teach with Student Feedback. arXiv:2109.04641,
known second-hand, for BERT classifiers. The course is the student's step on the teacher's soft
targets, the exam its cross entropy L on other texts after it; the teacher φ descends on L.

For a course step θ' = θ - η ∇θ D(φ, θ), with D the mean of KL(p_φ ‖ q_θ) over tokens,

    dL(θ')/dφ = -η ∂²D/∂φ∂θ · g = η ∂/∂φ  mean Σ_v p_φ(v) s(v),      g = ∇L(θ'),

where s(v), the derivative of log q_θ(v) along g, doesn't depend on φ: the entropy of p drops out.
So the teacher says more often what the student would say more often if it descended on its exam.

Our approximations:
- s is a central finite difference, as in DARTS (H. Liu, K. Simonyan, Y. Yang, 2018,
  arXiv:1806.09055, section 2.3), which leaves an error of the second order in `radius`.
- The course is a plain gradient step, where the student takes one of AdamW.
- s is taken at θ', not at θ, so that no copy of θ is kept: exact as η goes to zero.
- The past stays as it is: what earlier steps of the teacher did to θ is left out (one step).
- η is left out: AdamW is blind to a factor.
- Only adapters learn, in float32: bfloat16 would lose the small difference.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from pipeline.data.batch import Batch, Text, micro_batches
from pipeline.distributions.log_probs import LogProbs, Support, log_probs_on, target_log_prob
from pipeline.methods.ranges import Count, Positive
from pipeline.models.language_model import response_logits
from pipeline.models.lora import LoraOptimizer
from pipeline.settings.distill import DistillSettings
from pipeline.training.chunked_loss import split_by_logits


@dataclass(frozen=True)
class Update:
    """Adapters φ descend on L(θ - η ∇θ KL(p_φ ‖ q_θ)), L the cross entropy on other texts."""

    adapter_rank: Count = 8
    adapter_scale: Positive = 2.0
    adapter_rate: Positive = 1e-4
    radius: Positive = 0.01  # how far the student is moved along g, and back; DARTS' numerator

    def begin(
        self,
        teacher: PreTrainedModel,
        pool: Sequence[Text],
        settings: DistillSettings,
        budget: int,
    ) -> "Feedback":
        """Puts adapters into the teacher."""
        learner = LoraOptimizer(
            teacher, self.adapter_rank, self.adapter_scale, self.adapter_rate, settings.seed
        )
        return Feedback(
            learner, pool, settings.training.batch_size, settings.seed, budget, self.radius
        )


@dataclass(frozen=True)
class Feedback:
    """A teacher with adapters, and the texts that exams are made of."""

    learner: LoraOptimizer
    pool: Sequence[Text]
    exam_texts: int  # as many as a step of the student has
    seed: int
    budget: int  # positions in a micro-batch
    radius: float

    def learn(self, student: PreTrainedModel, batches: Sequence[Batch], step: int) -> None:
        """One step towards what would have helped the student in its exam."""
        course = {text.example_id for batch in batches for text in batch.texts}
        exam = self.exam(course, step)
        gradient = exam_gradient(student, list(micro_batches(exam, self.budget, student.device)))
        count = sum(batch.token_count for batch in batches)
        for batch in split_by_logits(student, batches):
            slopes = directional_slopes(student, batch, gradient, self.radius)
            support = Support(target=batch.next_ids)
            p = log_probs_on(response_logits(self.learner.model, batch), support)
            ((p.exp() * slopes).sum() / count).backward()
        self.learner.follow(step)

    def exam(self, course: set[str], step: int) -> list[Text]:
        """Texts of the pool that are not in the course: a draw by the seed and the step.

        Raises: ValueError if the course is the whole pool.
        """
        order = np.random.default_rng([self.seed, step, 1]).permutation(len(self.pool))
        others = (self.pool[at] for at in order if self.pool[at].example_id not in course)
        exam = list(islice(others, self.exam_texts))
        if not exam:
            raise ValueError(
                f"training.batch_size = {self.exam_texts}: a step takes all {len(self.pool)} "
                "training texts and leaves none for the student's exam"
            )
        return exam

    def state_dict(self) -> dict[str, Any]:
        """The adapters' weights and optimizer."""
        return self.learner.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a saved state."""
        self.learner.load_state_dict(state)


def exam_gradient(student: PreTrainedModel, batches: Sequence[Batch]) -> list[Tensor]:
    """The gradient of the student's mean cross entropy on its exam; `.grad` is left alone."""
    weights = list(student.parameters())
    count = sum(batch.token_count for batch in batches)
    total = [torch.zeros_like(one) for one in weights]
    for batch in split_by_logits(student, batches):
        loss = -target_log_prob(log_probs(student, batch), batch.next_ids).sum() / count
        for one, part in zip(total, torch.autograd.grad(loss, weights), strict=True):
            one += part
    return total


@torch.no_grad()
def directional_slopes(
    student: PreTrainedModel, batch: Batch, direction: Sequence[Tensor], radius: float
) -> LogProbs:
    """The derivative of each log-probability along a direction in weight space, s in the head.

    Without a length to divide by they are no numbers, which whoever follows them must see.
    """
    length = torch.stack([one.double().square().sum() for one in direction]).sum().sqrt()
    with moved(student, direction, radius / length):
        ahead = log_probs(student, batch)
    with moved(student, direction, -radius / length):
        behind = log_probs(student, batch)
    return (ahead - behind) * (length / (2 * radius)).to(ahead.dtype)


def log_probs(model: PreTrainedModel, batch: Batch) -> LogProbs:
    """Of all tokens, at the response tokens of a batch."""
    return log_probs_on(response_logits(model, batch), Support(target=batch.next_ids))


@contextlib.contextmanager
def moved(
    model: PreTrainedModel, direction: Sequence[Tensor], distance: float | Float[Tensor, ""]
) -> Iterator[None]:
    """The model with its weights elsewhere; afterwards they are what they were, bit by bit."""
    weights = list(model.parameters())
    before = [one.data for one in weights]
    for weight, part in zip(weights, direction, strict=True):
        weight.data = weight.data + distance * part
    try:
        yield
    finally:
        for weight, data in zip(weights, before, strict=True):
            weight.data = data
