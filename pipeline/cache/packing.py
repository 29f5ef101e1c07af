"""Whole numbers as bytes that a general compressor makes small, and back.

Sets of token ids, a row for each place in a text: in increasing order a row's gaps are small
numbers, and smaller still where frequent tokens come first. So the vocabulary of a shard is put in
an order of its own, by the octave of how often a token is in its sets; within an octave the order
is that of the ids, for it must be stored. Of numbers of several bytes, like stands beside like: all
low bytes, then all higher ones, which have few values.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Int, Shaped, UInt8

CODEC = pa.Codec("zstd", compression_level=9)

Ids = Shaped[np.ndarray, "tokens k"]
Order = Int[np.ndarray, " vocabulary"]  # token ids, the most frequent first
Plane = UInt8[np.ndarray, " numbers"]


def octaves(ids: Shaped[np.ndarray, " ids"], vocabulary: int) -> Plane:
    """For each token, how many binary digits the number of its occurrences has."""
    counts = np.bincount(ids, minlength=vocabulary)
    return np.frexp(counts)[1].astype(np.uint8)


def order(octave: Plane) -> Order:
    """The tokens of the highest octave first, each octave in the order of the ids."""
    return np.argsort(-octave.astype(np.int16), kind="stable").astype(np.int32)


def positions(order: Order) -> Order:
    """For each token, its place in the order."""
    places = np.empty_like(order)
    places[order] = np.arange(len(order), dtype=order.dtype)
    return places


def gaps(sorted_places: Ids) -> Ids:
    """How many places are left out before each of a row, which increases."""
    return np.diff(sorted_places, axis=-1, prepend=-1) - 1


def from_gaps(gaps: Ids) -> Ids:
    """The rows that these are the gaps of."""
    return np.cumsum(gaps + 1, axis=-1, dtype=np.int32) - 1


def planes(numbers: Shaped[np.ndarray, "..."], count: int) -> list[Plane]:
    """The low bytes of all numbers, the next higher ones, and so on: `count` planes of bytes.

    Raises: ValueError if a number is negative or has more bytes.
    """
    if numbers.size and not 0 <= numbers.min() <= numbers.max() < 1 << 8 * count:
        raise ValueError(f"{numbers.min()} to {numbers.max()} do not fit {count} bytes")
    wide = numbers.astype(np.uint32).ravel()
    return [(wide >> 8 * at).astype(np.uint8) for at in range(count)]


def joined(planes: Sequence[Plane]) -> Int[np.ndarray, " numbers"]:
    """The numbers that `planes` took apart."""
    numbers = planes[0].astype(np.int32)
    for at, plane in enumerate(planes[1:], start=1):
        numbers |= plane.astype(np.int32) << 8 * at
    return numbers


def packed(plane: Plane) -> bytes:
    """A plane, compressed."""
    return len(plane).to_bytes(4, "little") + CODEC.compress(plane.tobytes(), asbytes=True)


def unpacked(content: bytes) -> Plane:
    """What was packed."""
    size = int.from_bytes(content[:4], "little")
    return np.frombuffer(CODEC.decompress(content[4:], size, asbytes=True), np.uint8)
