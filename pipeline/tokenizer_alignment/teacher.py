"""A teacher of another vocabulary: it reads a batch's texts in tokens of its own."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch.nn.functional import pad

from pipeline.data.batch import Batch, Text, collate, texts_in
from pipeline.distributions.log_probs import (
    Support,
    TeacherDistributions,
    TeacherSignal,
)
from pipeline.distributions.spans import Spans, Vocabularies
from pipeline.models import positions
from pipeline.models.language_model import Precision, load_frozen
from pipeline.models.teacher import LiveTeacher, Teacher
from pipeline.runtime.costs import ModelCounter
from pipeline.runtime.transfer import to_device
from pipeline.tokenizer_alignment.alignment import AlignedText, Alignment
from pipeline.tokenizer_alignment.written import WrittenTexts, written_texts


@dataclass(frozen=True)
class AlignedTeacher:
    """A teacher that reads texts in its own vocabulary, and their alignment."""

    teacher: Teacher
    alignment: Alignment
    written: WrittenTexts | None = None  # of a live teacher, which reads other than gold texts too

    def readable(self, texts: Sequence[Text]) -> list[Text]:
        """Those of a step's texts that the teacher can read, cut ones up to their last word."""
        whole = [self.written.whole_words(text) if self.written else text for text in texts]
        return [text for text in whole if self._aligned(text) is not None]

    def _aligned(self, text: Text) -> AlignedText | None:
        if text.author == "gold" or self.written is None:
            return self.alignment.texts.get(text.example_id)
        return self.written.aligned(text)

    def _all_aligned(self, texts: Sequence[Text]) -> list[AlignedText]:
        aligned = [self._aligned(text) for text in texts]
        return [text for text in aligned if text is not None]  # all: the others were left out

    def signal(self, batch: Batch) -> TeacherSignal:
        """The teacher's distributions at its own tokens, and the spans that these are in."""
        texts, device = self._all_aligned(batch.texts), batch.next_ids.device
        own = self.teacher.signal(collate([text.teacher for text in texts], device))
        aligned = AlignedDistributions(own, batch, texts, self.alignment.vocabularies.to(device))
        return replace(aligned.chunk(slice(None)), top_ids=own.top_ids)

    def distributions(self, batch: Batch) -> "AlignedDistributions":
        """The same, to be computed chunk by chunk."""
        texts, device = self._all_aligned(batch.texts), batch.next_ids.device
        own = self.teacher.distributions(collate([text.teacher for text in texts], device))
        return AlignedDistributions(own, batch, texts, self.alignment.vocabularies.to(device))

    def check_finite(self, texts: Sequence[Text], step: int) -> None:
        """Raises ValueError, naming it, if a live teacher's logits on a text are not finite."""
        if isinstance(self.teacher, LiveTeacher):
            self.teacher.check_finite([text.teacher for text in self._all_aligned(texts)], step)

    def count(self) -> ModelCounter:
        """The teacher's work from now on."""
        return self.teacher.count()


def live_teacher(
    alignment: Alignment, teacher: Path, tokens: Path, precision: Precision, device: torch.device
) -> AlignedTeacher:
    """A teacher whose model runs on what students write; `tokens` are the students' artifact.

    Raises: ValueError if the alignment is of another teacher, or its texts are too long for it.
    """
    model = load_frozen(teacher, device, precision).requires_grad_(False)
    own = [text.teacher for text in alignment.texts.values()]
    positions.check(teacher, model.config, own, 0, "tokens.response_tokens")
    written = written_texts(alignment, teacher, tokens, model.config)
    return AlignedTeacher(LiveTeacher(model, precision), alignment, written)


@dataclass(frozen=True)
class AlignedDistributions:
    """A teacher's distributions on a batch of the student's, text by text."""

    teacher: TeacherDistributions  # on its own tokens of the same texts
    batch: Batch
    texts: Sequence[AlignedText]
    vocabularies: Vocabularies

    def chunk(self, rows: slice) -> TeacherSignal:
        """The distributions on the texts that the student's tokens in `rows` are of."""
        chosen = texts_in(self.batch, rows)
        ends = [0, *accumulate(text.teacher.target_count for text in self.texts)]
        first, last = ends[chosen.start], ends[chosen.stop]
        signal = _without_padding(self.teacher.chunk(slice(first, last)), self.vocabularies)
        spans = _spans(self.texts[chosen], signal, self.vocabularies)
        return TeacherSignal(
            signal.log_probs,
            Support(target=self.batch.next_ids[rows]),
            spans=spans,
            layers=signal.layers,
        )


def _without_padding(signal: TeacherSignal, vocabularies: Vocabularies) -> TeacherSignal:
    """The distributions over tokens of the vocabulary, without columns that pad a head."""
    size, ids, columns = len(vocabularies.shared), signal.support.ids, signal.log_probs.shape[-1]
    if ids is None:
        is_padding = torch.arange(columns, device=signal.log_probs.device) >= size
    else:
        is_padding = pad(ids >= size, (0, columns - ids.shape[-1]))
    kept = signal.log_probs.masked_fill(is_padding, -torch.inf)
    return replace(signal, log_probs=kept - kept.logsumexp(-1, keepdim=True))


def _spans(
    texts: Sequence[AlignedText], signal: TeacherSignal, vocabularies: Vocabularies
) -> Spans:
    device = signal.log_probs.device
    teacher = _joined([text.ends.teacher for text in texts])
    student = _joined([text.ends.student for text in texts])
    tensors = (_span_of(teacher), _span_of(student), _first(teacher), _first(student), student - 1)
    return Spans(
        *(to_device(torch.from_numpy(values), device) for values in tensors),
        teacher_target=signal.support.target,
        teacher_ids=signal.support.ids,
        vocabularies=vocabularies,
        ends_answer=to_device(torch.from_numpy(_ends_answer(texts, teacher)), device),
    )


def _ends_answer(
    texts: Sequence[AlignedText], ends: Int[np.ndarray, " spans"]
) -> Bool[np.ndarray, " spans"]:
    """Whether a span is the last one of an answer, of which a conversation has several."""
    answers = [end - first for text in texts for first, end in text.teacher.spans]
    return np.isin(ends, np.cumsum(answers))


def _joined(ends: Sequence[Sequence[int]]) -> Int[np.ndarray, " spans"]:
    """The ends of the spans of all texts, counted from the first token of the first text."""
    before = [0, *accumulate(of_text[-1] for of_text in ends)]
    shifted = [np.array(each) + first for each, first in zip(ends, before, strict=False)]
    return np.concatenate(shifted)


def _first(ends: Int[np.ndarray, " spans"]) -> Int[np.ndarray, " spans"]:
    return np.concatenate([[0], ends[:-1]])


def _span_of(ends: Int[np.ndarray, " spans"]) -> Int[np.ndarray, " tokens"]:
    """The span of each token."""
    return np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
