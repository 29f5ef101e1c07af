"""Documents in local files: rows, a column of numbers beside them, or a text cut in pieces."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.data.rows import Row, read_rows, read_utf8
from pipeline.settings.evaluation import ColumnMap, TextSplit
from pipeline.tasks.columns import mapped

TABLES = (".json", ".jsonl", ".parquet")
NUMBERS = (".lst",)
TEXTS = (".raw", ".txt", ".tokens")
SUFFIXES = TABLES + NUMBERS + TEXTS


def read(
    files: Sequence[str], columns: ColumnMap | None, text: TextSplit | None
) -> list[dict[str, Any]]:
    """The documents in files that stand side by side: the first has the rows, others add a column.

    Raises:
        ValueError: for files that can't be read so, or are not equally long.
    """
    first, *others = (Path(one) for one in files)
    rows = _cut(first, text) if first.suffix in TEXTS else read_rows(first)
    for path in others:
        rows = _beside(rows, path)
    return mapped(rows, columns)


def _beside(rows: Sequence[Row], path: Path) -> list[Row]:
    if path.suffix not in NUMBERS:
        raise ValueError(f"{path}: beside a first file, only {', '.join(NUMBERS)} are read")
    labels = [
        _number(path, at, line)
        for at, line in enumerate(read_utf8(path).split("\n"), 1)
        if line.strip()
    ]
    if len(labels) != len(rows):
        raise ValueError(f"{path} has {len(labels)} lines for {len(rows)} documents")
    return [
        Row(row.place, row.values | {"label": label})
        for row, label in zip(rows, labels, strict=True)
    ]


def _number(path: Path, at: int, line: str) -> int:
    try:
        return int(line)
    except ValueError:
        raise ValueError(f"{path}:{at}: {line!r:.40} is no whole number; mend the line") from None


def _cut(path: Path, text: TextSplit | None) -> list[Row]:
    if text is None:
        raise ValueError(f"{path}: the task is not made of plain text; allowed: {TABLES}")
    pieces = cut(read_utf8(path), text.begins)
    return [Row(f"{path}, document {n}", {text.column: one}) for n, one in enumerate(pieces, 1)]


def cut(text: str, begins: str) -> list[str]:
    """The documents of a text: each begins with a line that fits the pattern, blank ones left out.

    What stands before the first such line is a document too.
    """
    pieces: list[list[str]] = [[]]
    for line in text.split("\n"):
        if re.match(begins, line):
            pieces.append([])
        pieces[-1].append(line)
    return [joined for lines in pieces if (joined := "\n".join(lines)).strip()]
