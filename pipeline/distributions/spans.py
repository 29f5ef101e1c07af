"""Teacher and student on the same text in tokens of different vocabularies: spans that both share.

A span holds one token or more of each; the spans of a text follow each other without a gap. Where
teacher and student share a vocabulary, every token is a span.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pipeline.distributions.log_probs import (
    Logits,
    LogProbs,
    PerToken,
    Support,
    TeacherSignal,
    TokenContext,
    target_log_prob,
)

TeacherLogProbs = Float[Tensor, "teacher_tokens teacher_support"]
PerTeacherToken = Float[Tensor, " teacher_tokens"]
PerSpan = Float[Tensor, " spans"]
SpanRows = Float[Tensor, "spans support"]


@dataclass(frozen=True)
class Vocabularies:
    """Two vocabularies without the columns that pad a model's head."""

    shared: Int[Tensor, " teacher_vocabulary"]  # the student's token of the same bytes; -1: none
    teacher_begins_word: Bool[Tensor, " teacher_vocabulary"]  # or is white space, or a special one
    student_begins_word: Bool[Tensor, " student_vocabulary"]

    def to(self, device: torch.device) -> "Vocabularies":
        """The same on a device."""
        return Vocabularies(
            self.shared.to(device),
            self.teacher_begins_word.to(device),
            self.student_begins_word.to(device),
        )


@dataclass(frozen=True)
class Spans:
    """The spans of some whole texts, one text after the other, and what the teacher has there."""

    of_teacher: Int[Tensor, " teacher_tokens"]  # index of the span that a token is in
    of_student: Int[Tensor, " tokens"]
    teacher_first: Int[Tensor, " spans"]  # first token of each span
    student_first: Int[Tensor, " spans"]
    student_last: Int[Tensor, " spans"]
    teacher_target: Int[Tensor, " teacher_tokens"]  # column of the text's own token
    teacher_ids: Int[Tensor, "teacher_tokens k"] | None  # None: all tokens
    vocabularies: Vocabularies | None  # None: teacher and student share one
    # last one of an answer: behind it the text ends, or a user has a turn; None: they share one
    ends_answer: Bool[Tensor, " spans"] | None = None

    @property
    def teacher_last(self) -> Int[Tensor, " spans"]:
        """The last of the teacher's tokens in each span."""
        end = torch.full_like(self.teacher_first[:1], len(self.of_teacher))
        return torch.cat([self.teacher_first[1:], end]) - 1

    @property
    def single_tokens(self) -> tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]:
        """The teacher's and the student's token of each span that has one of each."""
        is_single = self.teacher_first == self.teacher_last
        is_single &= self.student_first == self.student_last
        return self.teacher_first[is_single], self.student_first[is_single]

    @property
    def teacher_begins(self) -> Int[Tensor, " spans"]:
        """The token with which the teacher begins each span."""
        return Support(self.teacher_target, self.teacher_ids).next_ids[self.teacher_first]

    def merged_teacher(self, teacher: TeacherLogProbs) -> SpanRows:
        """The row of each span's last token, times the probabilities of those before it.

        It says how likely the text of the span is up to its last token, followed by any token.
        """
        own = target_log_prob(teacher, self.teacher_target)
        before = self.teacher_sums(own) - own[self.teacher_last]
        return teacher[self.teacher_last] + before[:, None]

    def merged_student(self, student: LogProbs, tokens: TokenContext) -> SpanRows:
        """The same of the student."""
        own = target_log_prob(student, tokens.target)
        before = self.student_sums(own) - own[self.student_last]
        return student[self.student_last] + before[:, None]

    def teacher_sums(self, values: PerTeacherToken) -> PerSpan:
        """The sum over the teacher's tokens of each span."""
        return _sums(values, self.of_teacher, self.teacher_first)

    def student_sums(self, values: PerToken) -> PerSpan:
        """The sum over the student's tokens of each span."""
        return _sums(values, self.of_student, self.student_first)

    def at_last_tokens(self, values: PerSpan) -> PerToken:
        """The value of each span at its last token, and zero at the others.

        So a loss is a sum over spans, and its mean over the student's tokens doesn't count a span
        once for each of them.
        """
        return values.new_zeros(len(self.of_student)).index_copy(0, self.student_last, values)


def at_tokens(tokens: TokenContext, rows: Int[Tensor, " pairs"], spans: Spans) -> TokenContext:
    """What is known of some of the tokens of a chunk, as if these were all of its texts.

    A text without any of them is none.
    """
    _, text, lengths = tokens.sequence[rows].unique_consecutive(
        return_inverse=True, return_counts=True
    )
    reference = tokens.reference_log_probs
    return replace(
        tokens,
        target=tokens.target[rows],
        sequence=text,
        lengths=lengths,
        by_student=tokens.by_student[rows],
        sampled_log_probs=tokens.sampled_log_probs[rows],
        advantages=tokens.advantages[rows],
        has_solution=tokens.has_solution[rows],
        reference_log_probs=None if reference is None else reference[rows],
        spans=spans,
    )


def _sums(values: Tensor, index: Tensor, like: Tensor) -> Tensor:
    return values.new_zeros(len(like)).index_add(0, index, values)


def without_padding(
    logits: Logits, spans: Spans | None
) -> Float[Tensor, "tokens known_vocabulary"]:
    """The logits of the student's tokens, without columns that no token of its vocabulary has."""
    if spans is None or spans.vocabularies is None:
        return logits
    return logits[:, : len(spans.vocabularies.student_begins_word)]


def in_spans(signal: TeacherSignal, tokens: TokenContext) -> tuple[TeacherSignal, TokenContext]:
    """The signal and the tokens with the spans of both, the student on its whole vocabulary."""
    if signal.spans is not None:
        return signal, replace(tokens, spans=signal.spans)
    support, every = signal.support, torch.arange(len(tokens.target), device=tokens.target.device)
    spans = Spans(every, every, every, every, every, support.target, support.ids, None)
    whole = replace(signal, support=Support(support.next_ids), spans=spans)
    return whole, replace(tokens, target=support.next_ids, dense=True, spans=spans)
