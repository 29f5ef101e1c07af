"""Tokenized texts on disk, as stages read them."""

from pathlib import Path

import pyarrow as pa

from pipeline.artifacts import schemas
from pipeline.data.batch import Author, Text


def read_texts(path: Path, author: Author = "gold") -> list[Text]:
    """The texts in a tokens file, in its order. Raises ValueError if there is none in it."""
    table = schemas.read(path, schemas.TOKENS)
    if not table.num_rows:
        raise ValueError(f"{path} holds no text; see the counts in {path.parent / 'card.json'}")
    columns = [_lists(table, name) for name in ("prompt_ids", "response_ids")]
    names = table.column("example_id").to_pylist()
    return [Text(*row, author) for row in zip(names, *columns, strict=True)]


def _lists(table: pa.Table, name: str) -> list[list[int]]:
    return table.column(name).to_pylist()
