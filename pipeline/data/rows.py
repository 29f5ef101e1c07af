"""Rows of foreign tables, read with their place in the file."""

import contextlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, count
from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from pipeline.data import untrusted
from pipeline.data.foreign_files import TABLES, kind, lines, read_utf8, utf8_file

SURROGATE = re.compile(r"[\ud800-\udfff]")  # JSON may name one without its other half
STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")  # of a path into a value: a key, or a place in a list
SPACES = " \t\n\r"  # that JSON may have anywhere
GAP = re.compile(f"[{SPACES}]*")
CHATS = ({"role", "content"}, {"from", "value"})  # what a turn has at least
LONGEST_ROW = 2**24  # bytes of a row of CSV
NO_CHATS = (
    "conversations are read through a chat template: set `data.template: chat`, and name a column "
    "that is called neither messages nor conversations as data.examples.columns.messages"
)


@dataclass(frozen=True)
class Row:
    """A row of a table as named values."""

    location: str  # for error messages
    values: dict[str, object]
    is_padded: bool = False  # with nulls: all objects of a column have the names of all rows'

    @property
    def own_values(self) -> dict[str, object]:
        """The values without the nulls that stand for names which only other rows have."""
        if not self.is_padded:
            return self.values
        return {name: _without_nulls(value) for name, value in self.values.items()}

    def value(self, column: str) -> object:
        """The value of a column, or at a path into one. Raises ValueError if there is none."""
        if column not in self.values:
            with contextlib.suppress(LookupError):
                return _inside(self.values, column)
            if chats := [name for name, value in self.values.items() if _is_chat(value)]:
                raise ValueError(f"{self.location}: {chats[0]!r} holds a chat; {NO_CHATS}")
            there = ", ".join(sorted(self.values)) or "none"
            raise ValueError(
                f"{self.location}: no column {column!r}, there are: {there}; name the right one in "
                "data.examples.columns (input and source may be null)"
            )
        return self.values[column]

    def text(self, column: str) -> str:
        """The text in `column`, null being empty. Raises ValueError for anything else."""
        value = self.value(column)
        if value is None:
            return ""
        if _is_chat(value):
            raise ValueError(f"{self.location}: {column!r} holds a chat; {NO_CHATS}")
        if not isinstance(value, str):
            raise ValueError(f"{self.location}: column {column!r} holds no text but {value!r:.80}")
        return value

    def texts(self, column: str) -> tuple[str, ...]:
        """The texts in `column`: one, or a list of them. Raises ValueError for anything else."""
        value = self.value(column)
        if not isinstance(value, list) or _is_chat(value):
            return (self.text(column),)
        if wrong := [part for part in value if not isinstance(part, str)]:
            raise ValueError(
                f"{self.location}: {column!r} lists {wrong[0]!r:.80}, which is not text"
            )
        return tuple(value)


def _without_nulls(value: object) -> object:
    match value:
        case dict():
            return {name: _without_nulls(v) for name, v in value.items() if v is not None}
        case list():
            return [_without_nulls(element) for element in value]
    return value


def _inside(value: object, path: str) -> object:
    """The value at a path, as `choices[0].text`. Raises LookupError if there is none."""
    for name, place in STEP.findall(path):
        match value:
            case list() if place:
                value = value[int(place)]
            case dict() if name:
                value = value[name]
            case _:
                raise LookupError(path)
    return value


def _is_chat(value: object) -> bool:
    if not isinstance(value, list) or not value:
        return False
    return all(
        isinstance(message, dict) and any(keys <= set(message) for keys in CHATS)
        for message in value
    )


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a table, which may be compressed, one after the other.

    Raises: ValueError at the first that is none, and for a table without any.
    """
    rows = iter(_rows(path))
    if (first := next(rows, None)) is None:
        raise ValueError(f"{path} holds no rows; name another file in data.examples")
    yield from chain([first], rows)


def _rows(path: Path) -> Iterable[Row]:
    match kind(path):
        case ".json":
            return _json_rows(path)
        case ".jsonl":
            return json_lines(path)
        case ".csv" | ".tsv":
            return _csv_rows(path)
        case ".parquet" if path.suffix == ".parquet":
            return _parquet_rows(path)
        case other:
            allowed = f"only {', '.join(TABLES)}, all but the last also as .gz or .zst"
            raise ValueError(f"{path}: can't read {other!r} files, {allowed}")


def _json_rows(path: Path) -> Iterable[Row]:
    content = read_utf8(path)
    if content.lstrip(SPACES).startswith("["):
        return json_elements(path, content)
    try:
        value = json.loads(content)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and content.lstrip().startswith("{"):
            return json_lines(path)  # as pandas and `datasets` write them, under this name too
        raise ValueError(f"{path}:{error.lineno}: invalid JSON ({error.msg}); fix it") from None
    except (ValueError, RecursionError) as error:
        raise _unreadable(f"{path}, row 1", error) from None
    raise ValueError(f"{path} holds a JSON {type(value).__name__}, expected a list of objects")


def json_elements(path: Path, content: str) -> Iterator[Row]:
    """The elements of a JSON list, one after the other."""
    reader, number = json.JSONDecoder(), 0
    place = _behind_space(content, content.index("[") + 1)
    while number or not content.startswith("]", place):
        number += 1
        try:
            value, place = reader.raw_decode(content, place)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}:{error.lineno}: invalid JSON ({error.msg}); fix it") from None
        except (ValueError, RecursionError) as error:
            raise _unreadable(f"{path}, row {number}", error) from None
        yield _row(f"{path}, row {number}", value)
        place = _behind_space(content, place)
        if content.startswith("]", place):
            break
        if not content.startswith(",", place):
            raise _misplaced(path, content, place, "Expecting ',' delimiter")
        place = _behind_space(content, place + 1)
    if _behind_space(content, place + 1) < len(content):
        raise _misplaced(path, content, place, "Extra data")


def _behind_space(content: str, place: int) -> int:
    gap = GAP.match(content, place)
    return gap.end() if gap else place


def _misplaced(path: Path, content: str, place: int, fault: str) -> ValueError:
    line = content.count("\n", 0, place) + 1
    return ValueError(f"{path}:{line}: invalid JSON ({fault}); fix it")


def json_lines(path: Path) -> Iterator[Row]:
    """The rows of a table with one in each line."""
    for number, line in enumerate(lines(path), start=1):
        if line.strip():
            yield _json_line(f"{path}:{number}", line)


def _json_line(location: str, line: str) -> Row:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        is_list = line.lstrip().startswith("[")
        way_out = "a file that is one list is to end in .json" if is_list else "fix or remove it"
        raise ValueError(
            f"{location}: invalid JSON ({error.msg} at column {error.colno}) in {line[:60]!r}; "
            f"{way_out}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise _unreadable(location, error) from None
    return _row(location, value)


def _unreadable(location: str, error: Exception) -> ValueError:
    """The error for valid JSON that Python can't read, with its location and a way out."""
    fault = f"a number of more than {sys.get_int_max_str_digits()} digits"
    if isinstance(error, RecursionError):
        fault = "lists or objects too deep inside each other"
    return ValueError(f"{location}: it has {fault}; fix or remove the row")


def _row(location: str, value: object) -> Row:
    if not isinstance(value, dict):
        raise ValueError(f"{location}: {value!r:.60} is not an object of named values")
    try:
        texts = [(column, text) for column, cell in value.items() for text in strings(cell)]
    except RecursionError as error:
        raise _unreadable(location, error) from None
    for column, text in texts:
        if half := SURROGATE.search(text):
            raise ValueError(
                f"{location}: column {column!r} holds {half[0]!r}, half of a character; fix or "
                "remove the row"
            )
    return Row(location, value)


def strings(value: object) -> list[str]:
    """All text in a value, however deep."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for entry in value.values() for text in strings(entry)]
    if isinstance(value, list):
        return [text for entry in value for text in strings(entry)]
    return []


def _csv_rows(path: Path) -> Iterator[Row]:
    """The rows below the header, every value as the text that it is."""
    delimiter = "\t" if kind(path) == ".tsv" else ","
    layout = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    read = partial(
        csv.open_csv,
        read_options=csv.ReadOptions(block_size=LONGEST_ROW),
        parse_options=layout,
    )
    numbers = count(1)
    try:
        names = read(utf8_file(path)).schema.names
        _check_distinct(path, names)
        as_text = csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
        table = read(utf8_file(path), convert_options=as_text)
        for batch in table:
            for first in range(0, batch.num_rows, untrusted.BATCH_ROWS):
                for values in batch.slice(first, untrusted.BATCH_ROWS).to_pylist():
                    yield Row(f"{path}, row {next(numbers)}", values)
    except pa.ArrowInvalid as error:
        reason = " ".join(f"{error}".split())
        raise ValueError(f"{path} is no table of values ({reason:.200}); fix it") from None


def _check_distinct(path: Path, names: Iterable[str]) -> None:
    """Raises ValueError for two columns of one name, of which a row would have the last."""
    for name, count_of_name in Counter(names).items():
        if name and count_of_name > 1:
            raise ValueError(
                f"{path} has {count_of_name} columns named {name!r}; rename or remove all but one"
            )


def _parquet_rows(path: Path) -> Iterator[Row]:
    number = 0
    try:
        for batch in untrusted.parquet_batches(path):
            _check_distinct(path, batch.schema.names)
            for values in _parquet_values(path, batch, number):
                number += 1
                yield Row(f"{path}, row {number}", values, is_padded=True)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is not a whole Parquet file ({error}); fetch it again") from None


def _parquet_values(path: Path, batch: pa.RecordBatch, before: int) -> list[dict[str, object]]:
    try:
        return batch.to_pylist()
    except UnicodeDecodeError as error:  # what wrote the file has not looked at its text
        if batch.num_rows == 1:
            fault = f"its text is not UTF-8 ({error.reason})"
            raise ValueError(f"{path}, row {before + 1}: {fault}; fix it") from None
    rows = (batch.slice(place, 1) for place in range(batch.num_rows))
    return [_parquet_values(path, row, before + place)[0] for place, row in enumerate(rows)]
