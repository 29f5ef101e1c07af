"""A small module in the teacher learns along with the student (OKD-style, details ours).

J. Rao, X. Liu, Z. Lin, et al., 2024. Exploring and Enhancing the Transfer of Distribution in
Knowledge Distillation for Autoregressive Language Models. arXiv:2409.12512, of which we know the
abstract only: the teacher's backbone is frozen, a small online module of it is trained
concurrently with the student, and nothing is sampled on-policy. Ours are its kind (LoRA on
queries and values), its rate, and its loss, as between mutual learners (Y. Zhang, T. Xiang, et
al., 2017, arXiv:1706.00384): cross entropy on the text and a pull towards the student,
-log p(next token) + w KL(p ‖ q), with q held fixed. Teacher and student take steps in turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from pipeline.data.batch import Batch, Text
from pipeline.distributions.divergences import kl
from pipeline.distributions.log_probs import (
    LogProbs,
    PerToken,
    Support,
    log_probs_on,
    target_log_prob,
)
from pipeline.methods.ranges import Count, NonNegative, Positive
from pipeline.models.language_model import Precision, autocast, response_logits
from pipeline.models.logit_chunks import split_by_logits
from pipeline.models.lora import LoraOptimizer
from pipeline.settings.distill import DistillSettings
from pipeline.teacher_updates import TrainedStep


@dataclass(frozen=True)
class Update:
    """Adapters descend on -log p(next token) + w KL(p ‖ q), with the student q held fixed."""

    adapter_rank: Count = 8
    adapter_scale: Positive = 2.0
    adapter_rate: Positive = 1e-4
    student_weight: NonNegative = 0.5  # w

    def attach(
        self,
        teacher: PreTrainedModel,
        train_set: Sequence[Text],
        settings: DistillSettings,
        max_tokens: int,
    ) -> "OnlineModule":
        """Adds the module to the teacher."""
        optimizer = LoraOptimizer(
            teacher, self.adapter_rank, self.adapter_scale, self.adapter_rate, settings.seed
        )
        return OnlineModule(optimizer, self.student_weight, settings.training.precision)


@dataclass(frozen=True)
class OnlineModule:
    """An online module under training."""

    optimizer: LoraOptimizer
    student_weight: float
    precision: Precision

    def step(self, student: PreTrainedModel, trained: TrainedStep) -> None:
        """A step on the texts that the student was just trained on."""
        for batch in split_by_logits(student, trained.batches):
            support = Support(target=batch.next_ids)
            with autocast(student.device, self.precision):
                p = log_probs_on(response_logits(self.optimizer.model, batch), support)
                with torch.no_grad():
                    q = log_probs_on(response_logits(student, batch), support)
            losses = token_losses(p, q, batch, self.student_weight)
            (losses.sum() / trained.token_count).backward()
        self.optimizer.step(trained.step, trained.ranks)

    def state_dict(self) -> dict[str, Any]:
        """The module's weights and optimizer."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resumes from a saved state."""
        self.optimizer.load_state_dict(state)


def token_losses(p: LogProbs, q: LogProbs, batch: Batch, student_weight: float) -> PerToken:
    """-log p(next token) + w KL(p ‖ q), in nats."""
    return -target_log_prob(p, batch.next_ids) + student_weight * kl(p, q)
