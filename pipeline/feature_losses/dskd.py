"""DSKD: the last hidden states of each model, learnt into the other's space, read by its head.

S. Zhang, X. Zhang, Z. Sun, Y. Chen, J. Xu, 2024. Dual-Space Knowledge Distillation for Large
Language Models. arXiv:2406.17328; details from their repository (songmzhang/DSKD). With T and S the
projectors to the student's and to the teacher's width, and g the text's next token:

    -log t2s(g) + KL(t2s ‖ q) + KL(p ‖ s2t)

where t2s = head_s(T h_t), held constant in its KL, and s2t = head_t(S h_s). Heads get no gradient.
T learns from the cross entropy alone. Where it goes wrong, so does what it teaches: that is what
`dskd_v2` changed.

Departures: temperature 1, where theirs is 2; projectors without bias; of the KL in the student's
space, their script's kind alone. Their cross-model attention, for other vocabularies, is left out:
between these, the term stands at spans of one token on each side. Beside cross entropy with the
same weight.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from pipeline.distributions.divergences import kl
from pipeline.distributions.log_probs import Logits, LogProbs, PerToken, target_log_prob
from pipeline.feature_losses import BothModels, Sizes, projector
from pipeline.methods.ranges import LayerMap, NonNegative, Positive


def between_spaces(sizes: Sizes, rng: torch.Generator) -> torch.nn.ModuleDict:
    """T and S."""
    to_student = projector(sizes.teacher, sizes.student, rng)
    to_teacher = projector(sizes.student, sizes.teacher, rng)
    return torch.nn.ModuleDict({"to_student": to_student, "to_teacher": to_teacher})


def work_between_spaces(sizes: Sizes, tokens: int) -> int:
    """The multiplications of T and S, and of both heads once more.

    Backward, heads have no gradient of their own, and T has none for its input.
    """
    heads = sizes.student * sizes.vocabulary + sizes.teacher * sizes.teacher_vocabulary
    return tokens * ((2 + 3) * sizes.student * sizes.teacher + 2 * heads)


@dataclass(frozen=True)
class DualSpace:
    """The distributions of both models, each read by its own head and by the other's."""

    student: Float[Tensor, "tokens vocabulary"]  # q
    teacher: Float[Tensor, "tokens teacher_vocabulary"]  # p
    to_student: Float[Tensor, "tokens vocabulary"]  # t2s
    to_teacher: Float[Tensor, "tokens teacher_vocabulary"]  # s2t


def dual_space(models: BothModels) -> DualSpace:
    """All four distributions, without columns that pad a head."""
    student, teacher, spans = models.student, models.teacher, models.tokens.spans
    sizes = (None, None)
    if spans and spans.vocabularies:
        sizes = len(spans.vocabularies.student_begins_word), len(spans.vocabularies.shared)
    to_student = student.head(models.projectors["to_student"](teacher.last))
    to_teacher = teacher.head(models.projectors["to_teacher"](student.last))
    q, t2s = (_log_probs(logits, sizes[0]) for logits in (student.logits, to_student))
    p, s2t = (_log_probs(logits, sizes[1]) for logits in (teacher.logits, to_teacher))
    return DualSpace(q, p, t2s, s2t)


def _log_probs(logits: Logits, size: int | None) -> LogProbs:
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits[:, :size].log_softmax(-1)


@dataclass(frozen=True)
class Loss:
    """w · (-log t2s(g) + KL(t2s ‖ q) + KL(p ‖ s2t)), g the next token."""

    zero_when_equal = False  # it trains projectors with the text
    layers: ClassVar[LayerMap] = "last"

    feature_weight: NonNegative = 1.0  # w
    projector_rate: Positive = 1e-3

    projectors = staticmethod(between_spaces)
    multiplications = staticmethod(work_between_spaces)

    def __call__(self, models: BothModels) -> PerToken:
        read = dual_space(models)
        cross_entropy = -target_log_prob(read.to_student, models.tokens.target)
        in_student_space = cross_entropy + kl(read.to_student.detach(), read.student)
        return in_student_space + kl(read.teacher, read.to_teacher)
