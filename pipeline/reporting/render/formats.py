"""A table as CSV, Parquet and Markdown."""

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from pipeline.reporting.render.table import Cell, Group, Table
from pipeline.runtime.inert import inert, inert_line

# A spreadsheet runs a text that begins with one of these, of ordinary or of full width.
FORMULA = re.compile(r"^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")


def write(folder: Path, table: Table) -> None:
    """The table's data in CSV and Parquet; laid out in Markdown, too, where it is not long."""
    write_data(folder, table.name, table.data)
    if table.is_short:
        (folder / f"{table.name}.md").write_text(markdown(table), encoding="utf-8")


def write_data(folder: Path, name: str, data: pd.DataFrame) -> None:
    """The same numbers and texts in CSV and Parquet; in CSV, no text is a formula."""
    spreadsheet(data).to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
    data.to_parquet(folder / f"{name}.parquet", index=False)


def spreadsheet(data: pd.DataFrame) -> pd.DataFrame:
    """The data with an apostrophe before each text that a spreadsheet would run as a formula."""
    return data.map(lambda value: _no_formula(value) if isinstance(value, str) else value)


def _no_formula(text: str) -> str:
    return inert(f"'{text}" if FORMULA.match(text) else text)


def markdown(table: Table) -> str:
    """The table in Markdown, its caption below."""
    head = [*table.group_headings, *(heading.text for heading in table.headings)]
    rows = [[*map(_literal, group.names), *map(_marked, row)] for group, row in _rows(table)]
    numeric = [
        *([False] * len(table.group_headings)),
        *(heading.numeric for heading in table.headings),
    ]
    text = pd.DataFrame(rows, columns=[_literal(title) for title in head]).to_markdown(
        index=False,
        disable_numparse=True,
        colalign=["right" if is_number else "left" for is_number in numeric],
    )
    return f"{text}\n\n{table.caption}\n"


def _marked(cell: Cell) -> str:
    plain, text = _literal(cell.plain), _literal(cell.text)
    return f"**{text}**{plain.removeprefix(text)}" if cell.best else plain


def _literal(text: str) -> str:
    """The text on one line, without a link, an HTML tag or the end of a cell."""
    return re.sub(r"([\\`$*\[\]|]|<(?=[\w/!?]))", r"\\\1", inert_line(text))


def _rows(table: Table) -> Iterator[tuple[Group, tuple[Cell, ...]]]:
    for group in table.groups:
        for row in (*group.references, *group.rows):
            yield group, row
