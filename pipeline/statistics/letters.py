"""Compact letter displays: two things share a letter exactly where they can't be told apart.

Piepho 2004 (J. Comput. Graph. Stat. 13:456), insert and absorb.
"""

import string
from collections.abc import Iterable

LETTERS = string.ascii_lowercase + string.ascii_uppercase


def letters(count: int, apart: Iterable[tuple[int, int]]) -> list[str]:
    """The letters of things 0 … count − 1, best first; `apart` are the pairs that differ."""
    groups = [frozenset(range(count))] if count else []
    for one, other in apart:
        groups = _insert(groups, one, other)
    named = {place: _name(place) for place in range(len(groups))}
    ordered = sorted(groups, key=sorted)
    return [
        "".join(named[place] for place, group in enumerate(ordered) if thing in group)
        for thing in range(count)
    ]


def _insert(groups: list[frozenset[int]], one: int, other: int) -> list[frozenset[int]]:
    """The groups with those that hold both split in two; what lies within another is absorbed."""
    kept = [group for group in groups if not {one, other} <= group]
    halves = {group - {gone} for group in groups if {one, other} <= group for gone in (one, other)}
    for half in sorted(halves, key=len, reverse=True):
        if not any(half <= group for group in kept):
            kept.append(half)
    return kept


def _name(place: int) -> str:
    """The letter a … z, A … Z, then a2 …: more groups than letters are still readable."""
    turn, letter = divmod(place, len(LETTERS))
    return LETTERS[letter] + (str(turn + 1) if turn else "")
