"""A teacher's texts in the tokens of students with another vocabulary."""

from collections.abc import Mapping
from pathlib import Path

from pipeline.data.batch import read_texts
from pipeline.data.encoding import Encoder
from pipeline.data.examples import Piece
from pipeline.models import vocabulary
from pipeline.models.language_model import load_tokenizer
from pipeline.tokenizer_alignment.alignment import prompt_of
from pipeline.tokenizer_alignment.token_bytes import text_of, token_bytes


def in_student_tokens(columns: Mapping[str, list], own: Path, student: Path) -> dict[str, list]:
    """The columns of a texts file, the responses tokenized again behind the students' prompts.

    Left out are responses to prompts that the students don't have, and those that are not UTF-8:
    cut within a character.
    """
    of_token = token_bytes(load_tokenizer(own))
    own_ends = vocabulary.conventions_of_texts(own).ends
    encoder = Encoder(load_tokenizer(student))
    end = vocabulary.conventions_of_texts(student).ends[0]
    prompts = {text.example_id: text.prompt_ids for text in read_texts(student / "train.parquet")}
    written: dict[str, list] = {"example_id": [], "prompt_ids": [], "response_ids": []}
    for example_id, response in zip(columns["example_id"], columns["response_ids"], strict=True):
        prompt = prompts.get(example_id) or prompts.get(prompt_of(example_id))
        text = text_of(of_token[token] for token in response)
        if prompt is None or text is None:
            continue
        has_ended = response[-1] in own_ends
        if ids := [*encoder.alone([Piece(text, False)]), *[end] * has_ended]:
            written["example_id"].append(example_id)
            written["prompt_ids"].append(prompt)
            written["response_ids"].append(ids)
    return written
