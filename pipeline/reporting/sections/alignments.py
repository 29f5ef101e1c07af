"""Tables of how the texts of teachers with another vocabulary were aligned with the students'."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import pandas as pd

from pipeline.artifacts.schemas import SPLITS
from pipeline.reporting.analysis.load import AlignmentCard, AlignmentCounts
from pipeline.reporting.analysis.texts import tenths
from pipeline.reporting.render.table import MISSING, Column, Table

CAPTION = (
    "Texts in the tokens of a teacher with its own vocabulary and in those of the students. A span "
    "is a stretch between two boundaries that both tokenizations have; where it is one token on "
    "each side, distributions can be compared token by token. Left out are texts that are too long "
    "for the teacher, and those whose bytes differ between the tokenizations."
)
LENGTHS_CAPTION = (
    "How many tokens of each side the training texts' spans have, in % of the spans. "
    f"{MISSING}: not counted, as by earlier jobs."
)
SIDES = {"teacher": "Tokens of the teacher", "student": "Tokens of the students"}
LONGEST = 4  # tokens of a span; longer ones are counted with these


class Quantity(NamedTuple):
    """A column of the table of alignments."""

    name: str
    title: str
    detail: str
    unit: str
    text: Callable[[float], str]
    of: Callable[[AlignmentCounts], float]  # the counts of a split and of the vocabularies


def _share(name: str, whole: str = "spans") -> Callable[[AlignmentCounts], float]:
    return lambda counts: counts.get(name, 0) / (counts.get(whole) or float("nan"))


def _count(name: str, title: str) -> Quantity:
    return Quantity(name, title, "", "texts", "{:,.0f}".format, lambda counts: counts.get(name, 0))


def _mean(name: str, title: str) -> Quantity:
    return Quantity(f"{name}_per_span", title, "a span", "mean", "{:.2f}".format, _share(name))


COMMON = "Teacher's vocabulary in common"
QUANTITIES = (
    _count("examples", "Texts"),
    _count("aligned", "Aligned"),
    _count("too_long_for_teacher", "Too long"),
    _count("other_bytes", "Other bytes"),
    Quantity("one_to_one", "Spans one to one", "%", "share", tenths, _share("one_to_one_spans")),
    _mean("teacher_tokens", SIDES["teacher"]),
    _mean("student_tokens", SIDES["student"]),
    _mean("bytes", "Bytes"),
    Quantity("vocabulary_in_common", COMMON, "%", "share", tenths, _share("shared", "teacher")),
)


def alignments_table(cards: Mapping[str, AlignmentCard]) -> Table | None:
    """What each split's texts share; None where all teachers have the students' vocabulary."""
    items = {
        (teacher,): [(split, {**card["vocabulary"], **card[split]}) for split in SPLITS]
        for teacher, card in cards.items()
    }
    columns: tuple[Column[tuple[str, AlignmentCounts]], ...] = (
        Column.text("Split", lambda row: row[0]),
        *(
            Column.number(title, lambda row, of=of: of(row[1]), text, detail)
            for _, title, detail, _, text, of in QUANTITIES
        ),
    )
    records = [
        (teacher, split, name, unit, of(counts))
        for (teacher,), splits in items.items()
        for split, counts in splits
        for name, _, _, unit, _, of in QUANTITIES
    ]
    data = pd.DataFrame(records, columns=["teacher", "split", "quantity", "unit", "value"])
    return Table.of("alignments", CAPTION, columns, items, ("Teacher",), data)


def span_lengths_table(cards: Mapping[str, AlignmentCard]) -> Table | None:
    """Shares of the spans by length; None where all teachers have the students' vocabulary."""
    items = {
        (teacher,): [(side, _shares(card.get(f"{side}_span_lengths", {}))) for side in SIDES]
        for teacher, card in cards.items()
    }
    lengths = [*map(str, range(1, LONGEST)), f"{LONGEST} and more"]
    columns: tuple[Column[tuple[str, list[float]]], ...] = (
        Column.text("Length", lambda row: SIDES[row[0]]),
        *(
            Column.number(length, lambda row, place=place: row[1][place], tenths)
            for place, length in enumerate(lengths)
        ),
    )
    records = [
        (teacher, side, tokens, "share", share)
        for (teacher,), sides in items.items()
        for side, shares in sides
        for tokens, share in enumerate(shares, 1)
    ]
    data = pd.DataFrame(records, columns=["teacher", "side", "tokens", "unit", "value"])
    return Table.of("span_lengths", LENGTHS_CAPTION, columns, items, ("Teacher",), data)


def _shares(lengths: AlignmentCounts) -> list[float]:
    """The share of spans of one token, of two, and so on; the last one of all that are longer."""
    counts = [0] * LONGEST
    for length, count in lengths.items():
        counts[min(int(length), LONGEST) - 1] += count
    return [count / (sum(counts) or float("nan")) for count in counts]
