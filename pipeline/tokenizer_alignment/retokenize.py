"""A teacher's texts in the tokens of students with another vocabulary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.batch import StoredTexts, read_texts
from pipeline.data.encoding import Encoder
from pipeline.data.examples import Piece
from pipeline.models import vocabulary
from pipeline.models.language_model import load_tokenizer
from pipeline.tokenizer_alignment.alignment import prompt_of
from pipeline.tokenizer_alignment.token_bytes import text_of, token_bytes


@dataclass(frozen=True)
class Retokenizer:
    """The tokens of the teacher's texts, and those of its students."""

    of_token: Sequence[bytes]  # of the teacher's
    own_ends: Sequence[int]
    encoder: Encoder  # of the students' tokenizer
    end: int
    asked: StoredTexts  # by the students' tokens
    places: Mapping[str, int]  # of the examples in these

    @classmethod
    def of(cls, own: Path, student: Path) -> "Retokenizer":
        """The two vocabularies of tokens artifacts."""
        asked = read_texts(student / "train.parquet")
        ids = asked.table["example_id"].to_pylist()
        return cls(
            of_token=token_bytes(load_tokenizer(own)),
            own_ends=vocabulary.conventions_of_texts(own).ends,
            encoder=Encoder(load_tokenizer(student)),
            end=vocabulary.conventions_of_texts(student).ends[0],
            asked=asked,
            places={id: place for place, id in enumerate(ids)},
        )

    def in_student_tokens(self, columns: Mapping[str, list]) -> dict[str, list]:
        """Columns of a texts file, the responses tokenized again behind the students' prompts.

        Left out are responses to prompts that the students don't have, and those that are not
        UTF-8: cut within a character.
        """
        written: dict[str, list] = {"example_id": [], "prompt_ids": [], "response_ids": []}
        pairs = zip(columns["example_id"], columns["response_ids"], strict=True)
        for example_id, response in pairs:
            place = self.places.get(example_id, self.places.get(prompt_of(example_id)))
            text = text_of(self.of_token[token] for token in response)
            if place is None or text is None:
                continue
            has_ended = response[-1] in self.own_ends
            if ids := [*self.encoder.alone([Piece(text, False)]), *[self.end] * has_ended]:
                written["example_id"].append(example_id)
                written["prompt_ids"].append(self.asked[place].prompt_ids)
                written["response_ids"].append(ids)
        return written
