"""The spans that two tokenizations of a text share: the stretches between common boundaries.

A boundary is a number of bytes and of markers (tokens of no bytes, such as EOS) that lie before it.
So a marker is a span of its own, and meets the other tokenizer's marker in the same place.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.tokenizer_alignment.token_bytes import MARKER

Boundary = tuple[int, int]  # bytes and markers before it


@dataclass(frozen=True)
class SpanEnds:
    """How many tokens of each tokenization lie before the end of each span."""

    teacher: list[int]
    student: list[int]


def align(teacher: Sequence[bytes], student: Sequence[bytes]) -> SpanEnds | None:
    """The finest spans that both tokenizations have; None if they are not of the same text."""
    if list(_pieces(teacher)) != list(_pieces(student)):
        return None
    places = {boundary: count for count, boundary in enumerate(_boundaries(student), start=1)}
    shared = [
        (count, places[boundary])
        for count, boundary in enumerate(_boundaries(teacher), start=1)
        if boundary in places
    ]
    return SpanEnds([count for count, _ in shared], [count for _, count in shared])


def _boundaries(tokens: Sequence[bytes]) -> Iterator[Boundary]:
    """The end of each token. All differ: a token is a marker, or has bytes."""
    length = markers = 0
    for token in tokens:
        length += len(token)
        markers += token == MARKER
        yield length, markers


def _pieces(tokens: Sequence[bytes]) -> Iterator[bytes]:
    """The bytes up to each marker, and those behind the last one."""
    piece = []
    for token in tokens:
        if token == MARKER:
            yield b"".join(piece)
            piece = []
        else:
            piece.append(token)
    yield b"".join(piece)
