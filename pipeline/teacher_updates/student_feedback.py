"""The teacher learns from its student's held-out loss (IKD-style, first order, one step).

X. Liu, H. Tao, Y. Feng, D. Zhao, 2021. Learning to Teach with Student Feedback. arXiv:2109.04641,
known second-hand, for BERT classifiers. The student takes a step on the teacher's soft targets; its
cross entropy L on other texts after that step is the feedback: the teacher φ descends on L.

For a student step θ' = θ - η ∇θ D(φ, θ), with D the mean of KL(p_φ ‖ q_θ) over tokens,

    dL(θ')/dφ = -η ∂²D/∂φ∂θ · g = η ∂/∂φ  mean Σ_v p_φ(v) s(v),      g = ∇L(θ'),

where s(v), the derivative of log q_θ(v) along g, doesn't depend on φ: the entropy of p drops out.
So the teacher raises the tokens that the student would raise if it descended on L.

Our approximations:
- s is a central finite difference, as in DARTS (H. Liu, K. Simonyan, Y. Yang, 2018,
  arXiv:1806.09055, section 2.3), which leaves an error of the second order in `radius`.
- The student step is a plain gradient step, where the student takes one of AdamW.
- s is taken at θ', not at θ, so that no copy of θ is kept: exact as η goes to zero.
- What earlier steps of the teacher did to θ is left out (one step).
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

from pipeline.data.batch import Batch, Text
from pipeline.data.sharing import shared_batches
from pipeline.distributions.log_probs import LogProbs, Support, log_probs_on, target_log_prob
from pipeline.methods.ranges import Count, Positive
from pipeline.models.language_model import response_logits
from pipeline.models.logit_chunks import split_by_logits
from pipeline.models.lora import LoraOptimizer
from pipeline.models.trainable import trainable_weights
from pipeline.settings.distill import DistillSettings
from pipeline.teacher_updates import TrainedStep


@dataclass(frozen=True)
class Update:
    """Adapters φ descend on L(θ - η ∇θ KL(p_φ ‖ q_θ)), L the cross entropy on other texts."""

    adapter_rank: Count = 8
    adapter_scale: Positive = 2.0
    adapter_rate: Positive = 1e-4
    radius: Positive = 0.01  # how far the student is moved along g, and back; DARTS' numerator

    def attach(
        self,
        teacher: PreTrainedModel,
        train_set: Sequence[Text],
        settings: DistillSettings,
        max_tokens: int,
    ) -> "StudentFeedback":
        """Adds adapters to the teacher."""
        optimizer = LoraOptimizer(
            teacher, self.adapter_rank, self.adapter_scale, self.adapter_rate, settings.seed
        )
        batch_size, seed = settings.training.batch_size, settings.seed
        return StudentFeedback(optimizer, train_set, batch_size, seed, max_tokens, self.radius)


@dataclass(frozen=True)
class StudentFeedback:
    """A teacher with adapters, and the texts that its student's loss is measured on."""

    optimizer: LoraOptimizer
    train_set: Sequence[Text]
    held_out_count: int  # texts: as many as in a step of the student
    seed: int
    max_tokens: int  # positions in a micro-batch
    radius: float

    def step(self, student: PreTrainedModel, trained: TrainedStep) -> None:
        """A step towards targets that would have lowered the student's held-out loss."""
        trained_on = {text.example_id for text in trained.texts}
        held_out = self.held_out_texts(trained_on, trained.step)
        shared = shared_batches(held_out, self.max_tokens, student.device, trained.ranks)
        own = [part.batch for part in shared if part.weight]
        token_count = sum(text.target_count for text in held_out)
        gradient = cross_entropy_gradient(student, own, token_count)
        trained.ranks.sum_in_place(gradient)
        for batch in split_by_logits(student, trained.batches):
            slopes = directional_slopes(student, batch, gradient, self.radius)  # s
            p = vocabulary_log_probs(self.optimizer.model, batch).exp()
            ((p * slopes).sum() / trained.token_count).backward()
        self.optimizer.step(trained.step, trained.ranks)

    def held_out_texts(self, trained_on: set[str], step: int) -> list[Text]:
        """Texts of the train set that the step didn't train on, drawn by the seed and the step.

        Raises: ValueError if the step trained on the whole train set.
        """
        order = np.random.default_rng([self.seed, step, 1]).permutation(len(self.train_set))
        shuffled = (self.train_set[index] for index in order)
        others = (text for text in shuffled if text.example_id not in trained_on)
        held_out = list(islice(others, self.held_out_count))
        if not held_out:
            raise ValueError(
                f"training.batch_size = {self.held_out_count}: a step takes all "
                f"{len(self.train_set)} training texts and leaves none for the held-out loss"
            )
        return held_out

    def state_dict(self) -> dict[str, Any]:
        """The adapters' weights and optimizer."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resumes from a saved state."""
        self.optimizer.load_state_dict(state)


def cross_entropy_gradient(
    student: PreTrainedModel, batches: Sequence[Batch], token_count: int
) -> list[Tensor]:
    """g: the gradient of the student's cross entropy, over a count; `.grad` is left alone."""
    weights = trainable_weights(student)
    total = [torch.zeros_like(weight) for weight in weights]
    for batch in split_by_logits(student, batches):
        log_q = target_log_prob(vocabulary_log_probs(student, batch), batch.next_ids)
        gradients = torch.autograd.grad(-log_q.sum() / token_count, weights)
        for accumulated, gradient in zip(total, gradients, strict=True):
            accumulated += gradient
    return total


@torch.no_grad()
def directional_slopes(
    student: PreTrainedModel, batch: Batch, direction: Sequence[Tensor], radius: float
) -> LogProbs:
    """s: the derivative of each log-probability along a direction in weight space.

    A direction of length zero gives NaN, which the teacher's optimizer refuses.
    """
    length = torch.stack([part.double().square().sum() for part in direction]).sum().sqrt()
    with perturbed(student, direction, radius / length):
        ahead = vocabulary_log_probs(student, batch)
    with perturbed(student, direction, -radius / length):
        behind = vocabulary_log_probs(student, batch)
    return (ahead - behind) * (length / (2 * radius)).to(ahead.dtype)


def vocabulary_log_probs(model: PreTrainedModel, batch: Batch) -> LogProbs:
    """The log-probabilities of the whole vocabulary at the response tokens of a batch."""
    return log_probs_on(response_logits(model, batch), Support(target=batch.next_ids))


@contextlib.contextmanager
def perturbed(
    model: PreTrainedModel, direction: Sequence[Tensor], distance: float | Float[Tensor, ""]
) -> Iterator[None]:
    """The model with its weights moved along a direction; afterwards they are restored exactly."""
    weights = trainable_weights(model)
    before = [weight.data for weight in weights]
    for weight, part in zip(weights, direction, strict=True):
        weight.data = weight.data + distance * part
    try:
        yield
    finally:
        for weight, data in zip(weights, before, strict=True):
            weight.data = data
