"""Prose for language modelling: the lines of a text, or a column of a table."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.data.foreign_files import kind, lines
from pipeline.data.rows import Row, read_rows

COLUMN = "text"


def read_plain_texts(path: Path) -> Iterator[str]:
    """Prose: the lines of a .txt file, or the column `text` of any other; blank ones left out."""
    is_text = kind(path) == ".txt"
    texts = lines(path) if is_text else (plain_text(row) for row in read_rows(path))
    return (text.strip() for text in texts if text.strip())


def plain_text(row: Row) -> str:
    """The prose in a row. Raises ValueError for a row without any."""
    if COLUMN not in row.values:
        there = ", ".join(sorted(row.values)) or "none"
        raise ValueError(
            f"{row.location}: no column {COLUMN!r}, there are: {there}; plain text is a table with "
            "this column, or the lines of a .txt file"
        )
    return row.text(COLUMN)
