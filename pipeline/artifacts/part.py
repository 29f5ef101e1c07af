"""The parts of an artifact that jobs of their own make: shares of its pieces.

A piece is what is written at a time (`pipeline.artifacts.resumable_parts`), and the same from any
job. So the number of parts is the machine's matter: it enters no id and changes no result.
A finished part leaves a marker beside its pieces, which holds their names.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Piece = TypeVar("Piece")

_MARKER = re.compile(r"(.+)-part-([0-9]+)-of-([0-9]+)")
_LOCK = re.compile(rf"\.({_MARKER.pattern})\.lock")


@dataclass(frozen=True)
class Part:
    """The number of a part, counted from 1, and of how many it is one."""

    number: int
    count: int

    @classmethod
    def of_text(cls, text: str) -> "Part":
        """The part that a text such as 2/8 names. Raises ValueError for a part that isn't there."""
        match = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
        part = cls(int(match[1]), int(match[2])) if match else cls(0, 0)
        if not 1 <= part.number <= part.count:
            raise ValueError(f"{text!r} is no part; allowed: 1/8, 2/8, .. 8/8")
        return part

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def share(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """Every `count`-th piece."""
        return pieces[self.number - 1 :: self.count]

    def marker(self, state: Path, artifact: Path) -> Path:
        """The folder among an artifact's pieces that says that this part of it is finished."""
        return state / self.name_of(artifact.parent.name)

    def name_of(self, whole: str) -> str:
        """The name of this part of something that is called `whole`."""
        return f"{whole}-part-{self.number}-of-{self.count}"


def of_marker(path: Path) -> tuple[Path, Part] | None:
    """The artifact of `results/` and the part whose marker a path names; None if it names none."""
    match = _MARKER.fullmatch(path.name)
    if match is None:
        return None
    return path.parents[2] / match[1] / path.parent.name, Part(int(match[2]), int(match[3]))


def locked(state: Path) -> list[tuple[Path, int]]:
    """The markers of parts that run or were killed, as their locks tell, with how many they are."""
    matches = (_LOCK.fullmatch(path.name) for path in sorted(state.glob(".*.lock")))
    return [(state / match[1], int(match[4])) for match in matches if match]
