"""GOLD: distributions of merged spans, matched tokens by JSD, unmatched ones sorted.

C. M. Patiño, K. Rasul, Q. Gallouédec, B. Burtenshaw, S. Paniego, V. Srivastav, T. Frere,
E. Beeching, L. Tunstall, L. von Werra, T. Wolf, 2025. Unlocking On-Policy Distillation for Any
Model Family. huggingface.co/spaces/HuggingFaceH4/on-policy-distillation; details from TRL 1.10
(experimental/gold), and from what it builds on, ULD (arXiv:2402.12030). It has the merge
`bayesian`: a span's distribution is the row of its last token, times the probabilities of the
tokens before that one, and is not normalised. TRL's default, `observed`, reads each row one token
early.

Departures: the end of a text is learnt like any other token, where TRL skips it; a sum over spans
by the count of tokens, where theirs is a mean over spans and then over texts; logarithms, where
theirs clamps probabilities at 1e-8. From a top K the tokens beyond it are left out of both terms,
which bounds the loss from below. With one vocabulary all tokens are matched: it is JSD.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from pipeline.distributions.common_tokens import (
    CommonTokens,
    StudentRows,
    TeacherRows,
    common_tokens,
    in_student_ids,
)
from pipeline.distributions.divergences import jsd
from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext
from pipeline.distributions.spans import PerSpan, TeacherLogProbs, Vocabularies
from pipeline.losses.uld import top_values
from pipeline.methods.ranges import OpenShare


@dataclass(frozen=True)
class Loss:
    """w JSD_β of matched tokens + (1 - w) Σ_k |p_(k) - q_(k)| of others, w the share matched."""

    over_spans = True
    on_sparse_support = "lower"

    teacher_weight: OpenShare = 0.5  # β

    def __call__(
        self, teacher: TeacherLogProbs, student: LogProbs, tokens: TokenContext
    ) -> PerToken:
        spans = tokens.spans
        assert spans is not None
        p, q = spans.merged_teacher(teacher), spans.merged_student(student, tokens)
        ids = None if spans.teacher_ids is None else spans.teacher_ids[spans.teacher_last]
        matched = self.divergence(common_tokens(p, q, ids, spans.vocabularies))
        if spans.vocabularies is None:
            return spans.at_last_tokens(matched)
        share = (spans.vocabularies.shared >= 0).to(p).mean()
        unmatched = _unmatched(p, q, ids, spans.vocabularies)
        return spans.at_last_tokens(share * matched + (1 - share) * unmatched)

    def divergence(self, columns: CommonTokens) -> PerSpan:
        """β KL(p ‖ m) + (1 - β) KL(q ‖ m) on common tokens; no term of the two is below zero."""
        # equal numbers on both sides: such a place adds nothing
        p = columns.teacher.where(columns.is_common, 0)
        q = columns.student.where(columns.is_common, 0)
        return jsd(p, q, self.teacher_weight)


def _unmatched(
    teacher: TeacherRows,
    student: StudentRows,
    ids: Int[Tensor, "spans k"] | None,
    vocabularies: Vocabularies,
) -> PerSpan:
    """Σ_k |p_(k) - q_(k)| over the ranks k of the tokens that only one vocabulary has."""
    shared = vocabularies.shared
    is_unmatched = torch.ones_like(vocabularies.student_begins_word)
    is_unmatched[shared[shared >= 0]] = False
    q = student[:, is_unmatched].exp()
    if ids is None:
        p = teacher[:, : len(shared)][:, shared < 0].exp()
        width = max(p.shape[-1], q.shape[-1])
        return (top_values(p, width) - top_values(q, width)).abs().sum(-1)
    # of K stored tokens, the text's own one among them, K - 1 are sure to be the top ones
    sure = ids.shape[-1] - (teacher.shape[-1] > ids.shape[-1])
    p, places = teacher[:, : ids.shape[-1]].exp().topk(sure)
    is_listed = in_student_ids(ids.gather(-1, places), vocabularies) < 0
    ranks = torch.arange(sure, device=p.device) < is_listed.sum(-1, keepdim=True)
    apart = top_values(p.where(is_listed, 0), sure) - top_values(q, sure)
    return apart.abs().where(ranks, 0).sum(-1)
