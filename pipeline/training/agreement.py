"""How far student and teacher agree on the tokens that a step trains on.

Rethinking On-Policy Distillation, 2026. arXiv:2604.13016, known from its abstract: where on-policy
distillation works, the tokens that both models rank high hold nearly all of both masses. Measured
at the steps of validations alone, on logits that the step has anyway.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from pipeline.distributions.divergences import entropy
from pipeline.distributions.log_probs import Logits, LogProbs, TeacherSignal, log_probs_on

TOP = 16  # tokens of a model that are compared with the other's
COLUMNS = (  # of a step's row, means over its tokens
    "top_overlap",
    "student_mass",
    "teacher_mass",
    "student_entropy_nats",
    "teacher_entropy_nats",
)


class Agreement:
    """Sums of the measures over the tokens of a step, chunk after chunk."""

    def __init__(self, top: int = TOP) -> None:
        self.top, self.sums = top, list[Tensor]()

    def add(self, teacher: TeacherSignal, logits: Logits, weight: float = 1.0) -> None:
        """Measures some tokens, where both distributions are over the same whole vocabulary."""
        is_whole = teacher.support.ids is None and teacher.log_probs.shape == logits.shape
        if is_whole and teacher.spans is None:  # spans: rows of another vocabulary's tokens
            student = log_probs_on(logits.detach(), teacher.support)
            self.sums.append(weight * agreement(teacher.log_probs, student, self.top).sum(0))

    def means(self, token_count: int) -> list[Tensor]:
        """What these tokens add to each column's mean over a step; none where none was measured."""
        return list(torch.stack(self.sums).sum(0) / token_count) if self.sums else []


def agreement(p: LogProbs, q: LogProbs, top: int) -> Tensor:
    """COLUMNS of each token, p the teacher and q the student."""
    top = min(top, p.shape[-1])
    of_teacher, of_student = (values.topk(top).indices for values in (p, q))
    is_shared = (of_teacher[:, :, None] == of_student[:, None, :]).any(-1)
    student_mass, teacher_mass = (
        values.gather(-1, ids).exp().sum(-1) for values, ids in ((q, of_teacher), (p, of_student))
    )
    overlap = is_shared.to(p.dtype).mean(-1)
    return torch.stack([overlap, student_mass, teacher_mass, entropy(q), entropy(p)], dim=-1)


def row_of(means: list[float]) -> Mapping[str, float | None]:
    """The columns of a step's row; null where nothing was measured."""
    return dict(zip(COLUMNS, means or [None] * len(COLUMNS), strict=True))
