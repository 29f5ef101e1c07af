"""Texts that two vocabularies cut into other tokens, and the value of a loss over their spans."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pipeline.data.batch import Text, collate
from pipeline.distributions.log_probs import Support, TeacherSignal, TokenContext
from pipeline.distributions.spans import Vocabularies, without_padding
from pipeline.losses import build_loss
from pipeline.tokenizer_alignment.alignment import AlignedText
from pipeline.tokenizer_alignment.spans import SpanEnds
from pipeline.tokenizer_alignment.teacher import AlignedDistributions

TEACHER, STUDENT = 13, 9  # tokens of the vocabularies
SPANS = (  # of each text: how many tokens of the teacher's and of the student's each span has
    [(1, 1), (2, 1), (1, 3), (1, 1)],
    [(1, 1)],
    [(3, 2), (1, 1), (2, 2), (1, 2), (1, 1)],
)


@dataclass(frozen=True)
class Case:
    """Texts in the tokens of two vocabularies, with logits for both, in float64."""

    texts: list[AlignedText]
    student_texts: list[Text]
    teacher: Tensor  # logits [teacher tokens, vocabulary]
    student: Tensor  # logits [tokens, vocabulary]
    vocabularies: Vocabularies

    def signal(self, rows: slice = slice(None)) -> TeacherSignal:
        """The teacher's signal at the texts of some of the student's tokens."""
        ids = torch.tensor([token for text in self.texts for token in text.teacher.target_ids])
        dense = TeacherSignal(self.teacher.log_softmax(-1), Support(ids))
        return self.aligned(dense).chunk(rows)

    def aligned(self, signal: TeacherSignal) -> AlignedDistributions:
        """Any signal of the teacher's, with the spans."""
        batch = collate(self.student_texts, torch.device("cpu"))
        return AlignedDistributions(signal, batch, self.texts, self.vocabularies)


def case(spans: tuple = SPANS, seed: int = 0) -> Case:
    """Random texts with these spans."""
    draw = torch.Generator().manual_seed(seed)

    def some_ids(count: int, vocabulary: int) -> list[int]:
        return torch.randint(vocabulary, (count,), generator=draw).tolist()

    texts, student_texts = [], []
    for number, sizes in enumerate(spans):
        ends = [np.cumsum(side).tolist() for side in zip(*sizes, strict=True)]
        teacher = Text(f"text-{number}", [0], some_ids(ends[0][-1], TEACHER))
        texts.append(AlignedText(teacher, SpanEnds(*ends)))
        student_texts.append(Text(f"text-{number}", [0], some_ids(ends[1][-1], STUDENT)))
    counts = (
        sum(text.target_count for text in side)
        for side in ([each.teacher for each in texts], student_texts)
    )
    logits = [
        2 * torch.randn(count, size, generator=draw, dtype=torch.float64)
        for count, size in zip(counts, (TEACHER, STUDENT), strict=True)
    ]
    shared = torch.full((TEACHER,), -1)
    shared[:5] = torch.tensor([3, 0, 8, 1, 2])
    begins = [torch.arange(size) % 3 == 1 for size in (TEACHER, STUDENT)]
    return Case(texts, student_texts, *logits, Vocabularies(shared, *begins))


def tokens_of(case: Case, signal: TeacherSignal) -> TokenContext:
    """The student's tokens of a case."""
    lengths = torch.tensor([text.target_count for text in case.student_texts])
    sequence = torch.arange(len(lengths)).repeat_interleave(lengths)
    return TokenContext(
        target=signal.support.target,
        sequence=sequence,
        lengths=lengths,
        offsets=torch.arange(int(lengths.max())),
        by_student=torch.zeros_like(sequence, dtype=torch.bool),
        sampled_log_probs=torch.cat([torch.arange(-length, 0.0).double() for length in lengths]),
        advantages=torch.full((len(sequence),), torch.nan, dtype=torch.float64),
        has_solution=torch.zeros(len(sequence), dtype=torch.bool),
        all_sampled=True,
        dense=True,
        progress=0.0,
        state={},
        spans=signal.spans,
    )


def value(name: str, settings: dict, case: Case, signal: TeacherSignal | None = None) -> Tensor:
    """The loss at each of the student's tokens."""
    signal = signal or case.signal()
    student = without_padding(case.student, signal.spans).log_softmax(-1)
    return build_loss(name, settings)(signal.log_probs, student, tokens_of(case, signal))


def one_vocabulary() -> Case:
    """Texts of which teacher and student have the same tokens, and both know it."""
    batch = case(tuple([(1, 1)] * count for count in (4, 1, 6)))
    every = torch.arange(TEACHER)
    student = torch.randn(len(batch.teacher), TEACHER, dtype=torch.float64)
    begins = every % 3 == 1
    return replace(
        batch,
        student_texts=[text.teacher for text in batch.texts],
        student=student,
        vocabularies=Vocabularies(every, begins, begins),
    )
