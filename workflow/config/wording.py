"""Phrases that messages about names have in common."""

import difflib
from collections import Counter
from collections.abc import Hashable, Iterable
from typing import TypeVar

Value = TypeVar("Value", bound=Hashable)


def did_you_mean(name: str, known: Iterable[str], count: int = 1) -> str:
    """A question for the known names that a misspelt one resembles; empty without such."""
    near = difflib.get_close_matches(name, list(known), n=count)
    return f"did you mean {' or '.join(near)}?; " if near else ""


def repeated(values: Iterable[Value]) -> list[Value]:
    """The values that are listed more than once."""
    return [value for value, count in Counter(values).items() if count > 1]
