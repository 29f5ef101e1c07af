"""DSKDv2: the last hidden states of each model read by the other's head, where both have a token.

Zhang et al., 2025. A Dual-Space Framework for General Knowledge Distillation of Large Language
Models. arXiv:2504.11426; details from their repository (songmzhang/DSKDv2). With T and S the
projectors to the student's and to the teacher's width, and b the teacher's most likely token:

    -log t2s(b) + [t2s has b as its most likely token] KL(t2s ‖ q) + KL(p ‖ s2t)

where t2s = head_s(T h_t), held constant in its KL, and s2t = head_t(S h_s). Heads get no gradient.
T and S begin so that logits of common tokens change as little as can be: the other head times the
pseudoinverse of one's own. Between vocabularies there is a term at spans of one token on each side
(their exact token alignment) for which the student has the token b.

Departures: S is learnt from that beginning, where theirs is computed again from the student's head
in each step; sums over tokens by the count of all tokens, where each of theirs is a mean over the
tokens that it has; temperature 1, their scripts have 2. Beside cross entropy with the same weight.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.distributions.common_tokens import in_student_ids
from pipeline.distributions.divergences import kl
from pipeline.distributions.log_probs import LogProbs, PerToken, target_log_prob
from pipeline.feature_losses import BothModels
from pipeline.feature_losses.dskd import between_spaces, dual_space, work_between_spaces
from pipeline.methods.ranges import LayerMap, NonNegative, Positive


@dataclass(frozen=True)
class Loss:
    """w · (-log t2s(b) + [t2s has b on top] KL(t2s ‖ q) + KL(p ‖ s2t)), b the top token of p."""

    zero_when_equal = False  # it trains projectors with the teacher's top token
    layers: ClassVar[LayerMap] = "last"

    feature_weight: NonNegative = 1.0  # w
    projector_rate: Positive = 1e-3

    projectors = staticmethod(between_spaces)
    multiplications = staticmethod(work_between_spaces)

    @torch.no_grad()
    def fit_heads(
        self,
        projectors: torch.nn.ModuleDict,
        student: Float[Tensor, "width common"],
        teacher: Float[Tensor, "teacher_width common"],
    ) -> None:
        """Begins with the projectors by which the heads' logits of common tokens differ least."""
        of_linear = {"to_student": (student, teacher), "to_teacher": (teacher, student)}
        for name, (own, other) in of_linear.items():
            linear = projectors[name]
            assert isinstance(linear, torch.nn.Linear)
            linear.weight.copy_(torch.linalg.pinv(own.double()).T @ other.double().T)

    def __call__(self, models: BothModels) -> PerToken:
        read, spans = dual_space(models), models.tokens.spans
        vocabularies = spans.vocabularies if spans else None
        top = in_student_ids(read.teacher.argmax(-1), vocabularies)
        in_student_space = _in_student_space(read.to_student, read.student, top.clamp(min=0))
        return (in_student_space + kl(read.teacher, read.to_teacher)).where(top >= 0, 0)


def _in_student_space(t2s: LogProbs, q: LogProbs, top: Int[Tensor, " tokens"]) -> PerToken:
    """-log t2s(b), and the KL from t2s to q where t2s agrees with the teacher."""
    agrees = t2s.argmax(-1) == top
    return -target_log_prob(t2s, top) + kl(t2s.detach(), q).where(agrees, 0)
