"""Documents in local files: rows, a column of numbers beside them, or a text cut into documents.

A column map names the file's column for each of ours: `a.b` is b inside a, `a[].b` is
the list of b of each a, and a block of such values makes a block.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.data.first_rows import first_row
from pipeline.data.foreign_files import kind, read_utf8
from pipeline.data.rows import Row, read_rows
from pipeline.settings.evaluation import ColumnMap, TextSplit

# not csv, whose values are texts: a label "1" would be no choice's, and all answers wrong
TABLES = (".json", ".jsonl", ".parquet")
NUMBERS = ".lst"
TEXTS = (".raw", ".txt", ".tokens")


def read(
    files: Sequence[str], columns: ColumnMap | None, text: TextSplit | None
) -> list[dict[str, object]]:
    """The documents of files side by side: the first has the rows, others add a column.

    Raises:
        ValueError: for files that can't be read so, or are not equally long.
    """
    first, *others = _paths(files, text)
    if text is None or kind(first) not in TEXTS:
        rows = list(read_rows(first))
    else:
        rows = _text_rows(first, text)
    for path in others:
        rows = _with_labels(rows, path)
    return map_columns(rows, columns)


def check_beginning(
    files: Sequence[str], columns: ColumnMap | None, text: TextSplit | None
) -> None:
    """Raises ValueError for files that `read` refuses by their kinds or by the first row."""
    first, *_ = _paths(files, text)
    row = None if kind(first) in TEXTS else first_row(first)
    if row is not None:
        map_columns([row], columns)


def _paths(files: Sequence[str], text: TextSplit | None) -> list[Path]:
    """The files, of the kinds that can be read side by side."""
    first, *others = paths = [Path(file) for file in files]
    allowed = TABLES if text is None else TABLES + TEXTS
    if kind(first) not in allowed:
        raise ValueError(
            f"{first}: can't read {kind(first)!r} files as this task's documents; allowed: "
            f"{', '.join(allowed)}"
        )
    for path in others:
        if kind(path) != NUMBERS:
            raise ValueError(f"{path}: beside a first file, only {NUMBERS} are read")
    return paths


def _with_labels(rows: Sequence[Row], path: Path) -> list[Row]:
    labels = [
        _number(path, number, line)
        for number, line in enumerate(read_utf8(path).split("\n"), 1)
        if line.strip()
    ]
    if len(labels) != len(rows):
        raise ValueError(f"{path} has {len(labels)} lines for {len(rows)} documents")
    return [
        Row(row.location, row.values | {"label": label})
        for row, label in zip(rows, labels, strict=True)
    ]


def _number(path: Path, number: int, line: str) -> int:
    try:
        return int(line)
    except ValueError:
        raise ValueError(
            f"{path}:{number}: {line!r:.40} is not a whole number; fix the line"
        ) from None


def _text_rows(path: Path, text: TextSplit) -> list[Row]:
    documents = split_documents(read_utf8(path), text.begins)
    return [
        Row(f"{path}, document {number}", {text.column: document})
        for number, document in enumerate(documents, 1)
    ]


def split_documents(text: str, begins: str) -> list[str]:
    """The documents of a text: each begins with a line that fits the pattern.

    Text before the first such line is a document too; blank documents are left out.
    """
    documents: list[list[str]] = [[]]
    for line in text.split("\n"):
        if re.match(begins, line):
            documents.append([])
        documents[-1].append(line)
    return [document for lines in documents if (document := "\n".join(lines)).strip()]


def map_columns(rows: Sequence[Row], columns: ColumnMap | None) -> list[dict[str, object]]:
    """The rows under the names of `columns`; unchanged where they have these names already.

    Raises:
        ValueError: for a row that lacks a path which the map names.
    """
    if columns is None or _has_our_columns(rows[0], columns):
        return [row.values for row in rows]
    return [{name: _look_up(row, path) for name, path in columns.items()} for row in rows]


def _has_our_columns(row: Row, columns: ColumnMap) -> bool:
    try:
        for path in columns.values():
            _look_up(row, path)
    except ValueError:
        return set(columns) <= set(row.values)
    return False


def _look_up(row: Row, path: object) -> object:
    if isinstance(path, Mapping):
        return {name: _look_up(row, inner) for name, inner in path.items()}
    try:
        return _follow(row.values, path)
    except (KeyError, TypeError, AttributeError):
        names = ", ".join(sorted(row.values)) or "none"
        raise ValueError(
            f"{row.location}: nothing at {path!r}; its columns are {names}; name the right places "
            "in evaluation.data.TASK.columns"
        ) from None


def _follow(value: object, path: object) -> object:
    if not isinstance(path, str):
        raise TypeError(f"{path!r:.60} is not a column")
    key, _, rest = path.partition(".")
    if not isinstance(value, Mapping):
        raise TypeError(f"{value!r:.60} has no columns")
    inner = value[key.removesuffix("[]")]
    if not key.endswith("[]"):
        return _follow(inner, rest) if rest else inner
    if not isinstance(inner, list):
        raise TypeError(f"{inner!r:.60} is not a list")
    return [_follow(element, rest) if rest else element for element in inner]
