"""ULD: sorted probabilities, whatever tokens they are of.

N. Boizard, K. El Haddad, C. Hudelot, P. Colombo, 2024. Towards Cross-Tokenizer Distillation: the
Universal Logit Distillation Loss for LLMs. arXiv:2402.12030; details from their repository
(Nicolas-BZRD/llm-recipes): cross entropy + 1.5 ULD, positions of an answer paired by index, so
that rows drift apart where tokens differ in length. `aligned` is ours: it pairs the rows in which
spans begin, where both models have read the same text. It is blind to which token has which
probability.

Departure: a mean over the tokens of the step, where theirs is over the positions that an answer
has on both sides. On a sparse support all tokens beyond the top K - 1 are one value, which bounds
the loss from below.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from pipeline.distributions.log_probs import LogProbs, PerToken, TokenContext
from pipeline.distributions.spans import Spans, TeacherLogProbs

Sorted = Float[Tensor, "rows ranks"]


@dataclass(frozen=True)
class Loss:
    """Σ_k |p_(k) - q_(k)| over ranks k, p and q each sorted."""

    over_spans = True
    on_sparse_support = "lower"

    aligned: bool = False

    def __call__(
        self, teacher: TeacherLogProbs, student: LogProbs, tokens: TokenContext
    ) -> PerToken:
        spans = tokens.spans
        assert spans is not None
        if self.aligned:
            pairs = _apart(teacher[spans.teacher_first], student[spans.student_first], spans)
            return spans.at_last_tokens(pairs)
        rows, is_paired = _same_index(spans)
        return _apart(teacher[rows], student, spans).where(is_paired, 0)


def _same_index(spans: Spans) -> tuple[Int[Tensor, " tokens"], Bool[Tensor, " tokens"]]:
    """The teacher's token of the same index in the answer, and whether there is one."""
    if spans.ends_answer is None:  # both have the same tokens
        return spans.of_student, torch.ones_like(spans.of_student, dtype=torch.bool)
    answer = spans.ends_answer.cumsum(0) - spans.ends_answer.long()  # that each span is of
    of_teacher, of_student = answer[spans.of_teacher], answer[spans.of_student]
    teacher_counts, counts = (
        torch.zeros_like(answer).index_add(0, side, torch.ones_like(side))
        for side in (of_teacher, of_student)
    )
    index = torch.arange(len(of_student), device=answer.device)
    index -= (counts.cumsum(0) - counts)[of_student]
    rows = (teacher_counts.cumsum(0) - teacher_counts)[of_student] + index
    return rows.clamp(max=len(of_teacher) - 1), index < teacher_counts[of_student]


def _apart(teacher: Tensor, student: Tensor, spans: Spans) -> Float[Tensor, " rows"]:
    p, q = teacher.exp(), student.exp()
    if spans.teacher_ids is None or p.shape[-1] == spans.teacher_ids.shape[-1]:
        p, q = p.sort(descending=True).values, q.sort(descending=True).values
        width = max(p.shape[-1], q.shape[-1])
        return (_padded(p, width) - _padded(q, width)).abs().sum(-1)
    # of K stored tokens, the text's own one among them, K - 1 are sure to be the top ones
    sure = p.shape[-1] - 2
    p, q = _with_rest(p[:, :-1].topk(sure).values), _with_rest(top_values(q, sure))
    return (p - q).abs().sum(-1)


def _padded(values: Sorted, width: int) -> Float[Tensor, "rows width"]:
    return pad(values, (0, width - values.shape[-1]))


def top_values(values: Float[Tensor, "rows tokens"], width: int) -> Float[Tensor, "rows width"]:
    """The largest values of each row, zeros where there are fewer."""
    return _padded(values.topk(min(width, values.shape[-1])).values, width)


def _with_rest(values: Sorted) -> Float[Tensor, "rows outcomes"]:
    return torch.cat([values, 1 - values.sum(-1, keepdim=True)], dim=-1)
