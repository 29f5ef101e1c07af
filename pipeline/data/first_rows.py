"""The first row of a table, without reading the others."""

import contextlib
from itertools import islice
from pathlib import Path

from pipeline.data.foreign_files import blocks, kind
from pipeline.data.rows import SPACES, Row, json_elements, json_lines, read_rows


def first_row(path: Path) -> Row | None:
    """The first row of a table; None if it can't be told from the beginning of a long JSON text.

    Raises: ValueError, as reading all rows would.
    """
    if kind(path) == ".json" and (beginning := _beginning_of_long(path)):
        are_elements = beginning.lstrip(SPACES).startswith("[")
        rows = json_elements(path, beginning) if are_elements else json_lines(path)
        with contextlib.suppress(ValueError):  # it may be cut off here
            return next(iter(rows), None)
        return None
    return next(iter(read_rows(path)))


def _beginning_of_long(path: Path) -> str:
    """The first block of a text that has several; empty for a shorter one."""
    first = list(islice(blocks(path), 2))
    return first[0].decode("utf-8-sig", errors="ignore") if len(first) > 1 else ""
