"""A table as CSV, Parquet and Markdown."""

import re
from pathlib import Path

import pandas as pd

from pipeline.reporting.render.table import Cell, Table
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

    def plain(value: object) -> object:
        if not isinstance(value, str):
            return value
        return inert(f"'{value}" if FORMULA.match(value) else value)

    return data.map(plain)


def markdown(table: Table) -> str:
    """The table in Markdown, its caption below."""
    head = [*table.group_headings, *(heading.text for heading in table.headings)]
    rows = [
        [*map(_literal, group.names), *map(_marked, row)]
        for group in table.groups
        for row in (*group.references, *group.rows)
    ]
    sides = ["left" for _ in table.group_headings]
    sides += ["right" if heading.numeric else "left" for heading in table.headings]
    frame = pd.DataFrame(rows, columns=[*map(_literal, head)])
    text = frame.to_markdown(index=False, disable_numparse=True, colalign=sides)
    return f"{text}\n\n{table.caption}\n"


def _marked(cell: Cell) -> str:
    plain, text = _literal(cell.plain), _literal(cell.text)
    return f"**{text}**{plain.removeprefix(text)}" if cell.best else plain


def _literal(text: str) -> str:
    """The text on one line, without a link, an HTML tag or the end of a cell."""
    return re.sub(r"([\\`$*\[\]|]|<(?=[\w/!?]))", r"\\\1", inert_line(text))
