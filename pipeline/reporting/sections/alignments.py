"""Tables of how the texts of teachers with another vocabulary were aligned with the students'."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from pipeline.artifacts.schemas import SPLITS
from pipeline.reporting.analysis.load import AlignmentCard, AlignmentCounts
from pipeline.reporting.analysis.texts import percent
from pipeline.reporting.render.table import Group, Heading, Table, number_cell, text_cell

CAPTION = (
    "Texts in the tokens of a teacher with its own vocabulary and in those of the students. A span "
    "is a stretch between two boundaries that both tokenizations have; where it is one token on "
    "each side, distributions can be compared token by token. Left out are texts that are too long "
    "for the teacher, and those whose bytes differ between the tokenizations."
)
LENGTHS_CAPTION = "How many tokens of each side the training texts' spans have, in % of the spans."
SIDES = {"teacher": "Tokens of the teacher", "student": "Tokens of the students"}
LONGEST = 4  # tokens of a span; longer ones are counted with these


@dataclass(frozen=True)
class Quantity:
    """A column of the table of alignments."""

    name: str
    heading: Heading
    unit: str
    text: Callable[[float], str]
    of: Callable[[AlignmentCounts], float]  # the counts of a split or of the vocabularies


def _per_span(name: str) -> Callable[[AlignmentCounts], float]:
    return lambda counts: counts.get(name, 0) / (counts.get("spans") or float("nan"))


def _count(name: str, title: str) -> Quantity:
    return Quantity(
        name, Heading(title), "texts", "{:,.0f}".format, lambda counts: counts.get(name, 0)
    )


def _mean(name: str, title: str) -> Quantity:
    heading = Heading(title, "a span")
    return Quantity(f"{name}_per_span", heading, "mean", "{:.2f}".format, _per_span(name))


QUANTITIES = (
    _count("examples", "Texts"),
    _count("aligned", "Aligned"),
    _count("too_long_for_teacher", "Too long"),
    _count("other_bytes", "Other bytes"),
    Quantity(
        "one_to_one",
        Heading("Spans one to one", "%"),
        "share",
        percent,
        _per_span("one_to_one_spans"),
    ),
    _mean("teacher_tokens", SIDES["teacher"]),
    _mean("student_tokens", SIDES["student"]),
    _mean("bytes", "Bytes"),
)
IN_COMMON = Quantity(
    "vocabulary_in_common",
    Heading("Teacher's vocabulary in common", "%"),
    "share",
    percent,
    lambda counts: counts["shared"] / counts["teacher"],
)


def alignment_tables(cards: Mapping[str, AlignmentCard]) -> Sequence[Table]:
    """Shares and lengths of the spans by teacher; none where all have the students' vocabulary."""
    return [_alignments(cards), _lengths(cards)] if cards else []


def _alignments(cards: Mapping[str, AlignmentCard]) -> Table:
    groups, records = [], []
    for teacher, card in cards.items():
        rows = []
        for split in SPLITS:
            numbers = [(one, one.of(card[split])) for one in QUANTITIES]
            numbers.append((IN_COMMON, IN_COMMON.of(card["vocabulary"])))
            cells = (number_cell(value, one.text) for one, value in numbers)
            rows.append((text_cell(split), *cells))
            records += [(teacher, split, one.name, one.unit, value) for one, value in numbers]
        groups.append(Group(teacher, (teacher,), (), tuple(rows)))
    headings = (one.heading for one in (*QUANTITIES, IN_COMMON))
    data = pd.DataFrame(records, columns=["teacher", "split", "quantity", "unit", "value"])
    return Table(
        "alignments",
        CAPTION,
        ("Teacher",),
        (Heading("Split", numeric=False), *headings),
        tuple(groups),
        data,
    )


def _lengths(cards: Mapping[str, AlignmentCard]) -> Table:
    groups, records = [], []
    for teacher, card in cards.items():
        rows = []
        for side, title in SIDES.items():
            shares = _shares(card[f"{side}_span_lengths"])
            cells = (number_cell(share, percent) for share in shares)
            rows.append((text_cell(title), *cells))
            records += [(teacher, side, n, "share", share) for n, share in enumerate(shares, 1)]
        groups.append(Group(teacher, (teacher,), (), tuple(rows)))
    lengths = [*map(str, range(1, LONGEST)), f"{LONGEST} and more"]
    data = pd.DataFrame(records, columns=["teacher", "side", "tokens", "unit", "value"])
    headings = (Heading("Length", numeric=False), *map(Heading, lengths))
    return Table("span_lengths", LENGTHS_CAPTION, ("Teacher",), headings, tuple(groups), data)


def _shares(lengths: AlignmentCounts) -> list[float]:
    """The share of spans of one token, of two, and so on; the last one of all that are longer."""
    counts = [0] * LONGEST
    for length, count in lengths.items():
        counts[min(int(length), LONGEST) - 1] += count
    return [count / (sum(counts) or float("nan")) for count in counts]
