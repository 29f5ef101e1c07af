"""The alignment of a data set's texts in two vocabularies, as an artifact holds it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import torch

from pipeline.artifacts import artifact, schemas
from pipeline.data.batch import Text
from pipeline.distributions.spans import Vocabularies
from pipeline.tokenizer_alignment.spans import SpanEnds
from pipeline.tokenizer_alignment.token_bytes import begins_word

SAMPLE = "#"  # before the number of one of several answers to a prompt


@dataclass(frozen=True)
class AlignedText:
    """A text in tokens of the teacher's own, and the spans of its targets."""

    teacher: Text
    ends: SpanEnds


@dataclass(frozen=True)
class Alignment:
    """The texts of some splits that both vocabularies have, and what the two share."""

    folder: Path
    splits: Sequence[str]

    @cached_property
    def texts(self) -> dict[str, AlignedText]:
        """The texts by example."""
        tables = [
            schemas.read(self.folder / f"{split}.parquet", schemas.ALIGNMENTS)
            for split in self.splits
        ]
        return {row["example_id"]: _read(row) for table in tables for row in table.to_pylist()}

    @cached_property
    def teacher_bytes(self) -> list[bytes]:
        """The bytes of each of the teacher's tokens."""
        return self._teacher_vocabulary.column("bytes").to_pylist()

    @cached_property
    def student_bytes(self) -> list[bytes]:
        """The bytes of each of the student's tokens."""
        path = self.folder / "student_vocabulary.parquet"
        return schemas.read(path, schemas.STUDENT_VOCABULARY).column("bytes").to_pylist()

    @cached_property
    def vocabularies(self) -> Vocabularies:
        """What a loss over spans is told of the two vocabularies."""
        return Vocabularies(
            torch.tensor(self._teacher_vocabulary.column("student_id").to_pylist()),
            torch.tensor(begins_word(self.teacher_bytes)),
            torch.tensor(begins_word(self.student_bytes)),
        )

    @cached_property
    def _teacher_vocabulary(self) -> pa.Table:
        path = self.folder / "teacher_vocabulary.parquet"
        return schemas.read(path, schemas.TEACHER_VOCABULARY)

    @property
    def teacher_tokens(self) -> str:
        """The id of the artifact that holds the texts in the teacher's vocabulary."""
        return self._inputs["teacher_tokens"]

    @cached_property
    def _inputs(self) -> dict[str, str]:
        return artifact.read_json(self.folder / artifact.MANIFEST)["inputs"]

    def check(self, tokens: Path) -> None:
        """Raises ValueError unless the student's side is of these texts."""
        if (wanted := artifact.read_id(tokens)) != self._inputs["tokens"]:
            raise ValueError(
                f"{self.folder} aligns {self._inputs['tokens']}, not {wanted} ({tokens}); delete "
                "it and run again"
            )

    def prompt(self, example_id: str) -> Sequence[int] | None:
        """The teacher's tokens of a prompt; None where its gold text is not aligned."""
        aligned = self.texts.get(example_id) or self.texts.get(prompt_of(example_id))
        return aligned.teacher.prompt_ids if aligned else None

    def of(self, texts: Sequence[Text]) -> list[Text]:
        """The texts whose prompts have an aligned gold text. Raises ValueError if none has."""
        aligned = [text for text in texts if self.prompt(text.example_id) is not None]
        if not aligned:
            raise ValueError(f"{self.folder}: none of {len(texts)} texts is the same in both")
        return aligned


def prompt_of(example_id: str) -> str:
    """The example whose prompt one of several answers is to."""
    return example_id.rpartition(SAMPLE)[0]


def _read(row: Mapping) -> AlignedText:
    bounds = row["earlier_spans"]
    earlier = tuple(zip(bounds[::2], bounds[1::2], strict=True))
    text = Text(row["example_id"], row["prompt_ids"], row["response_ids"], earlier=earlier)
    return AlignedText(text, SpanEnds(row["teacher_ends"], row["student_ends"]))
