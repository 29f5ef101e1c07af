"""Writes `grid.csv`: which artifacts stand behind each cell of an experiment's tables."""

import argparse
import csv
import io
import json
from pathlib import Path

from pipeline import artifacts
from workflow.config import validate
from workflow.grid import Grid


def text(grid: Grid) -> str:
    """A line for each cell, and one for the names of the columns."""
    rows, file = grid.rows(), io.StringIO(newline="")
    writer = csv.DictWriter(file, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def main() -> None:
    """Expands the grid once more: its rows may be too many for a command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=json.loads, help="the configuration as JSON")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    with artifacts.whole(options.out) as temporary:
        temporary.write_bytes(text(Grid(validate(options.config))).encode())


if __name__ == "__main__":
    main()
