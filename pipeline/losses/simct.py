"""SimCT: the tokens that both vocabularies have, and the span itself as one more outcome.

J. Sun, M. Zheng, M. Song, Q. Zhong, Y. Cheng, B. Feng, P. Liu, J. Fang, X. Wang, 2026. SimCT:
Recovering Lost Supervision for Cross-Tokenizer On-Policy Distillation. arXiv:2605.07711; details
from their repository (sunjie279/SimCT-, span_ctkd.py): reverse KL over the common tokens where a
span begins, and the span as one virtual token more.

Departures. Theirs is a softmax over raw logits, where a span has the mean of its tokens' logits.
But a row's logits are known only up to a constant: such a mean over rows, beside the columns of the
first row, changes where no distribution does. Here all are log-probabilities, and a span has the
probability of its text, Π of its tokens': a mean would tell two models apart that find a text
equally likely and cut it into different numbers of tokens. So the outcomes exclude each other: the
span; the common tokens, without those that begin it on either side; and the rest, which theirs
leaves out. It holds the tokens that only one side has, and ε of both distributions: where all of
the teacher's tokens are common, the divergence stays finite. With one vocabulary it is
(1 - ε) KL(q ‖ p). On a top K the rest has the unlisted tokens, too, which bounds it from below.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pipeline.distributions.common_tokens import OfCommon, common_tokens
from pipeline.distributions.divergences import kl
from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext, target_log_prob
from pipeline.distributions.spans import PerSpan, TeacherLogProbs

EPSILON = 1e-4  # share of both distributions that is moved to the rest


@dataclass(frozen=True)
class Loss:
    """KL(q ‖ p) over common tokens where a span begins, the span and the rest."""

    over_spans = True
    on_sparse_support = "lower"

    def __call__(
        self, teacher: TeacherLogProbs, student: LogProbs, tokens: TokenContext
    ) -> PerToken:
        spans = tokens.spans
        assert spans is not None
        ids = spans.teacher_ids
        columns = common_tokens(
            teacher[spans.teacher_first],
            student[spans.student_first],
            None if ids is None else ids[spans.teacher_first],
            spans.vocabularies,
        )
        begins = (columns.teacher_ids == spans.teacher_begins[:, None]) | (
            columns.student_ids == tokens.target[spans.student_first][:, None]
        )
        is_other = columns.is_common & ~begins
        a = spans.teacher_sums(target_log_prob(teacher, spans.teacher_target))
        b = spans.student_sums(target_log_prob(student, tokens.target))
        p, q = _outcomes(columns.teacher, is_other, a), _outcomes(columns.student, is_other, b)
        return spans.at_last_tokens(kl(q, p))


def _outcomes(
    common: OfCommon, is_other: Bool[Tensor, "spans common"], span: PerSpan
) -> Float[Tensor, "spans outcomes"]:
    """The log-probabilities of other common tokens, of the span, and of everything else."""
    others = torch.cat([common.masked_fill(~is_other, -torch.inf), span[:, None]], dim=-1)
    rest = (1 - others.exp().sum(-1, keepdim=True)).clamp(min=0)
    rest = torch.log(EPSILON + (1 - EPSILON) * rest)
    return torch.cat([others + math.log1p(-EPSILON), rest], dim=-1)
