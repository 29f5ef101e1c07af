"""ALM: the likelihoods of spans, so that teacher and student may have different vocabularies.

B. Minixhofer, I. Vulić, E. M. Ponti, 2025. Universal Cross-Tokenizer Distillation via Approximate
Likelihood Matching. arXiv:2503.20083; details from their repository (bminixhofer/tokenkit):
τ = 100, binary cross entropy, `merge_by_space_prob` with 0.1 and `append_space`, which its
documentation recommends. A span's likelihood depends on what its tokenizer may put behind it. So a
span ends only where the teacher thinks it likely enough that a word begins, and that outcome is a
part of the span's likelihood on both sides. Behind the end of an answer nothing is put.

Departures: τ times the divergence, which has a limit as τ grows, less the teacher's entropy, so
that zero means equal; a sum over spans by the count of tokens, where theirs is a mean over spans.
From a top K the teacher's mass on beginnings of words is that of the K listed tokens. Teacher and
student of one vocabulary have nothing to correct for.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext, target_log_prob
from pipeline.distributions.spans import PerSpan, Spans, TeacherLogProbs
from pipeline.methods.ranges import Positive, PositiveShare

EPSILON = 1e-6  # keeps a likelihood below one


@dataclass(frozen=True)
class Loss:
    """τ KL of span or not span, with the likelihoods p^(1/τ) of the teacher, q^(1/τ)."""

    over_spans = True
    on_sparse_support = "equal"  # it reads the target alone, where vocabularies are the same

    temperature: Positive = 100.0  # τ
    least_boundary_mass: PositiveShare = 0.1  # of the teacher; below it spans are merged

    def __call__(
        self, teacher: TeacherLogProbs, student: LogProbs, tokens: TokenContext
    ) -> PerToken:
        spans = tokens.spans
        assert spans is not None
        a = spans.teacher_sums(target_log_prob(teacher, spans.teacher_target))
        b = spans.student_sums(target_log_prob(student, tokens.target))
        if spans.vocabularies is None:
            return spans.at_last_tokens(self.divergence(a, b))

        ends_answer = spans.ends_answer
        assert ends_answer is not None
        teacher_mass = _behind(_teacher_mass(teacher, spans), ends_answer)
        student_mass = student[spans.student_first][:, spans.vocabularies.student_begins_word]
        student_mass = _behind(student_mass.logsumexp(-1), ends_answer)
        is_end = ends_answer | (teacher_mass.exp() >= self.least_boundary_mass)
        merged = is_end.cumsum(0) - is_end.long()  # index of the longer span that each is a part of
        a = _merged(a + teacher_mass.where(is_end, 0), merged)
        b = _merged(b + student_mass.where(is_end, 0), merged)
        return spans.at_last_tokens(self.divergence(a, b)[merged].where(is_end, 0))

    def divergence(self, a: PerSpan, b: PerSpan) -> PerSpan:
        """τ KL of two binary outcomes whose log-likelihoods are a / τ and b / τ."""
        p, q = a / self.temperature - EPSILON, b / self.temperature - EPSILON
        no_p, no_q = _log_of_rest(p), _log_of_rest(q)
        return self.temperature * (p.exp() * (p - q) + no_p.exp() * (no_p - no_q))


def _log_of_rest(log_p: PerSpan) -> PerSpan:
    """log(1 - p); each form where it loses no digits."""
    near_one = log_p > -0.5
    small = torch.where(near_one, log_p, -0.5)
    return torch.where(
        near_one,
        torch.log(-torch.expm1(small)),
        torch.log1p(-torch.where(near_one, -0.5, log_p).exp()),
    )


def _merged(values: PerSpan, index: Int[Tensor, " spans"]) -> PerSpan:
    return torch.zeros_like(values).index_add(0, index, values)


def _behind(values: PerSpan, ends_answer: Bool[Tensor, " spans"]) -> PerSpan:
    """The value of the following span, and zero behind an answer."""
    return values.roll(-1).masked_fill(ends_answer, 0)


def _teacher_mass(teacher: TeacherLogProbs, spans: Spans) -> PerSpan:
    """Log of the teacher's mass on beginnings of words where each span begins."""
    assert spans.vocabularies is not None
    begins, rows = spans.vocabularies.teacher_begins_word, teacher[spans.teacher_first]
    if spans.teacher_ids is None:
        return rows[:, : len(begins)][:, begins].logsumexp(-1)
    ids = spans.teacher_ids[spans.teacher_first]
    known = begins[ids.clamp(max=len(begins) - 1)] & (ids < len(begins))
    return rows[:, : ids.shape[-1]].masked_fill(~known, -torch.inf).logsumexp(-1)
