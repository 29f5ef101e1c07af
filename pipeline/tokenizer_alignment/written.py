"""Texts that are not in the alignment, such as those that a student writes in training.

Their tokens give bytes, which a live teacher's tokenizer cuts again behind the teacher's own tokens
of the prompt. Where a text ended, the teacher reads its own EOS.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from pipeline.data.batch import Text
from pipeline.data.encoding import Encoder
from pipeline.data.examples import Piece
from pipeline.models import positions, vocabulary
from pipeline.models.language_model import load_tokenizer
from pipeline.tokenizer_alignment.alignment import AlignedText, Alignment
from pipeline.tokenizer_alignment.spans import align
from pipeline.tokenizer_alignment.token_bytes import MARKER, begins_word, text_of, token_bytes

REMEMBERED = 2**12  # texts: a step asks for each of its own several times


@dataclass(frozen=True)
class WrittenTexts:
    """What a teacher reads where a student of another vocabulary wrote."""

    alignment: Alignment
    tokenizer: PreTrainedTokenizerBase  # the teacher's
    end: int  # the teacher's EOS
    most_positions: int | None  # of the teacher

    def whole_words(self, text: Text) -> Text:
        """The text; one that was cut at a length limit, up to its last word.

        A teacher whose tokens are longer would expect another token than that of half a word.
        """
        if text.author == "gold" or self._has_ended(text):
            return text
        known = [token for token in text.response_ids if token < len(self._begins_word)]
        ends = [place for place, token in enumerate(known) if place and self._begins_word[token]]
        if not ends or len(known) < len(text.response_ids):
            return text
        return replace(
            text,
            response_ids=text.response_ids[: ends[-1]],
            log_probs=text.log_probs[: ends[-1]],
            by_teacher=text.by_teacher[: ends[-1]],
        )

    def aligned(self, text: Text) -> AlignedText | None:
        """The teacher's tokens of a text, and the spans.

        None where the bytes are no text, where they differ, as those of special tokens amid a text
        do, or where the teacher has too few positions for them.
        """
        return self._remembered(text.example_id, tuple(text.response_ids), self._has_ended(text))

    @cached_property
    def _remembered(self):
        return lru_cache(REMEMBERED)(self._align)

    def _align(self, example_id: str, ids: Sequence[int], has_ended: bool) -> AlignedText | None:
        student, teacher = self.alignment.student_bytes, self.alignment.teacher_bytes
        if max(ids) >= len(student):  # of a head with more columns than the vocabulary has tokens
            return None
        cut = [student[token] for token in ids]
        response, prompt_ids = text_of(cut), self.alignment.prompt(example_id)
        if response is None or prompt_ids is None:
            return None
        own = [*self._encoder.alone([Piece(response, False)]), *[self.end] * has_ended]
        text = Text(example_id, prompt_ids, own)
        ends = align([teacher[token] for token in own], cut)
        if ends is None or (self.most_positions and text.length > self.most_positions):
            return None
        return AlignedText(text, ends)

    def _has_ended(self, text: Text) -> bool:
        student, last = self.alignment.student_bytes, text.response_ids[-1]
        return text.ended and last < len(student) and student[last] == MARKER

    @cached_property
    def _encoder(self) -> Encoder:
        return Encoder(self.tokenizer)

    @cached_property
    def _begins_word(self) -> list[bool]:
        return begins_word(self.alignment.student_bytes)


def written_texts(
    alignment: Alignment, teacher: Path, tokens: Path, config: PreTrainedConfig
) -> WrittenTexts:
    """What a live teacher reads of students' texts; `tokens` are the students' artifact.

    Raises: ValueError if the alignment is of another teacher's vocabulary.
    """
    tokenizer = load_tokenizer(teacher)
    if token_bytes(tokenizer) != alignment.teacher_bytes:
        raise ValueError(
            f"{alignment.folder} is of another vocabulary than that of {teacher}; delete it and "
            "run again"
        )
    student_end = vocabulary.conventions_of_texts(tokens).ends[0]
    end = alignment.vocabularies.shared.tolist().index(student_end)
    return WrittenTexts(alignment, tokenizer, end, positions.of_config(config))
