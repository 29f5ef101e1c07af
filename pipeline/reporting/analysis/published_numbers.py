"""Numbers published by papers and re-runs: published_numbers.csv, read without pandas.

A row's `kind` is `authors` where the authors of the method measured it, and `re-run` otherwise, a
paper's own baselines included. `evidence` is how much of the source was read. Models are named as
on the hub, so that a row is compared only with an experiment on the same models; rows without a
protocol are for reference and compared with none.
"""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("published_numbers.csv")
EVIDENCE = {
    "full": "full paper read",
    "secondary": "abstract or secondary page",
    "issue": "issue thread",
    "recalled": "recalled, not read",
}
TASKS = ("dolly", "selfinst", "vicuna", "sni", "unni")
AVERAGE = "average_of_5"  # of the five tasks above


@dataclass(frozen=True)
class Published:
    """A published number and its source."""

    protocol: str
    teacher: str
    student: str  # the same as the teacher in a teacher's own row
    reported_as: str  # the source's name for the method
    method: str  # the catalogue's, `teacher`, or empty where the catalogue has none
    task: str
    metric: str
    value: str  # as published, with its number of digits
    kind: str  # `authors` or `re-run`
    evidence: str
    paper: str
    arxiv: str
    table: str
    note: str

    @property
    def source(self) -> str:
        """Paper, arXiv id and table, where they are known."""
        number = f"arXiv:{self.arxiv}" if self.arxiv else ""
        return ", ".join(part for part in (self.paper, number, self.table) if part)


@cache
def published() -> tuple[Published, ...]:
    """Every number in the table."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return tuple(Published(**row) for row in csv.DictReader(file))


def protocols() -> tuple[str, ...]:
    """The protocols that an experiment can name."""
    return tuple(dict.fromkeys(row.protocol for row in published() if row.protocol))


def pairs(protocol: str) -> set[tuple[str, str]]:
    """The teachers and students with published numbers under a protocol."""
    rows = (row for row in published() if row.protocol == protocol)
    return {(row.teacher, row.student) for row in rows if row.teacher != row.student}
