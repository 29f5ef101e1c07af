"""Compact letter displays: two methods share a letter exactly if they don't differ significantly.

Piepho 2004 (J. Comput. Graph. Stat. 13:456), insert and absorb.
"""

import string
from collections.abc import Iterable

LETTERS = string.ascii_lowercase + string.ascii_uppercase


def compact_letters(count: int, different: Iterable[tuple[int, int]]) -> list[str]:
    """The letters of methods 0 … count − 1, best first, given the pairs that differ."""
    groups = [frozenset(range(count))] if count else []
    for first, second in different:
        groups = _insert(groups, first, second)
    ordered = sorted(groups, key=sorted)
    return [
        "".join(_letter(index) for index, group in enumerate(ordered) if method in group)
        for method in range(count)
    ]


def _insert(groups: list[frozenset[int]], first: int, second: int) -> list[frozenset[int]]:
    """The groups with those that hold both split in two; subsets of another are absorbed."""
    both = [group for group in groups if {first, second} <= group]
    remaining = [group for group in groups if not {first, second} <= group]
    halves = {group - {left_out} for group in both for left_out in (first, second)}
    for half in sorted(halves, key=len, reverse=True):
        if not any(half <= group for group in remaining):
            remaining.append(half)
    return remaining


def _letter(index: int) -> str:
    """The letter a … z, A … Z, then a2 …, so that more groups than letters stay readable."""
    cycle, letter = divmod(index, len(LETTERS))
    return LETTERS[letter] + (str(cycle + 1) if cycle else "")
