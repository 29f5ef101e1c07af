"""What papers and re-runs have published: published_numbers.csv, read without pandas.

A row's `kind` is `authors` where the authors of the method measured it, `re-run` where anybody else
did, a paper's own baselines included. `evidence` says what of the source was read. Models are named
as on the hub, so that they meet an experiment's only where they are the same; rows without a
protocol are kept for reference and meet none.
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
    """A number that somebody has published, and where."""

    protocol: str
    teacher: str
    student: str  # the teacher again in a teacher's own row
    reported_as: str  # the source's name for the method
    method: str  # the catalogue's, `teacher`, or empty where the catalogue has none
    task: str
    metric: str
    value: str  # with the digits that were published
    kind: str  # `authors` or `re-run`
    evidence: str
    paper: str
    arxiv: str
    table: str
    note: str

    @property
    def source(self) -> str:
        """Paper, arXiv id and table, as far as they are at hand."""
        number = f"arXiv:{self.arxiv}" if self.arxiv else ""
        return ", ".join(part for part in (self.paper, number, self.table) if part)


@cache
def published() -> tuple[Published, ...]:
    """Every number in the table."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return tuple(Published(**row) for row in csv.DictReader(file))


def protocols() -> tuple[str, ...]:
    """The protocols that an experiment can name."""
    return tuple(dict.fromkeys(one.protocol for one in published() if one.protocol))


def pairs(protocol: str) -> set[tuple[str, str]]:
    """The teachers and students that numbers were published for under a protocol."""
    of_protocol = (one for one in published() if one.protocol == protocol)
    return {(one.teacher, one.student) for one in of_protocol if one.teacher != one.student}
