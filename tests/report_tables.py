"""The tables of a report, read from its files, and the numbers that their cells show."""

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from report_docs import Documented
from reports import Made

NUMBER = re.compile(r"(?<![\w.])[+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?[kMB]?%?(?![\w-])")
LARGE = {"k": 1e3, "M": 1e6, "B": 1e9}


@dataclass(frozen=True)
class Shown:
    """A number in a text, and half of the unit of its last digit."""

    value: float
    half_digit: float

    def agrees(self, number: float) -> bool:
        return abs(self.value - number) <= self.half_digit * (1 + 1e-6)


def numbers(text: str) -> list[Shown]:
    """Every number that a cell shows, as it is rounded there."""
    shown = []
    for word in NUMBER.findall(text):
        plain = word.strip("%").replace(",", "")
        size = LARGE.get(plain[-1], 1.0)
        plain = plain.rstrip("kMB")
        digits, _, power = plain.partition("e")
        unit = 10.0 ** (int(power or 0) - len(digits.partition(".")[2]))
        if size > 1 and "." not in digits and len(digits) > 3:
            unit *= 10.0 ** (len(digits) - 3)
        shown.append(Shown(float(plain) * size, unit * size / 2))
    return shown


def markdown_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table in Markdown."""
    lines = [line for line in path.read_text().splitlines() if line.startswith("|")]
    split = [
        [
            re.sub(r"\*\*|\\(?=[\\`*\[\]|<])", "", cell).strip()
            for cell in re.split(r"(?<!\\)\|", line[1:-1])
        ]
        for line in lines
    ]
    return split[0], split[2:]


def tables_of(made: Made) -> list[str]:
    return sorted(path.stem for path in (made.folder / "tables").glob("*.csv"))


def read_csv(made: Made, name: str) -> pd.DataFrame:
    """A table's CSV file; nothing is missing in a column of texts."""
    table = pd.read_csv(made.folder / f"tables/{name}.csv", keep_default_na=False)
    for column in table:
        if NUMBER_TYPES & set(DOCUMENTED.types[str(column)]):
            table[column] = pd.to_numeric(table[column])  # raises for what is no number
    return table


DOCUMENTED = Documented.read()
NUMBER_TYPES = {"number", "integer"}
