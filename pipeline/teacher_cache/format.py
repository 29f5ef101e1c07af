"""Blocks: what is kept of a few texts, as bytes that a general compressor makes small.

A block is what is read to look up one of its texts. Of numbers of several bytes like stands beside
like: a plane has the low bytes of a column, another the higher ones, which have few values. Each is
a frame of zstd, for frames share no statistics; columns of one number a token share one. All frames
of a block are undone by one call.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
import pyarrow as pa
from jaxtyping import Shaped, UInt8

from pipeline.distributions.ranking import RANKED
from pipeline.teacher_cache import packing
from pipeline.teacher_cache.metadata import Facts

COUNTS = "distinct"  # the column that says how many numbers of a ragged one a token has

Planes = Mapping[str, UInt8[np.ndarray, "bytes ..."]]  # each with a row of numbers for a token
Numbers = Mapping[str, Shaped[np.ndarray, "..."]]


@dataclass(frozen=True)
class Column:
    """Numbers of one kind."""

    name: str
    dtype: str
    width: int | None = 1  # for each token; None: ragged

    @cached_property
    def bytes(self) -> int:
        """Of a number."""
        return np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Layout:
    """The columns of a kind of cache, ragged ones last."""

    columns: Sequence[Column]

    def planes(self, numbers: Numbers) -> Planes:
        """Numbers, taken apart into bytes. Raises ValueError for what a column cannot hold."""
        return {one.name: _planes(numbers[one.name], one) for one in self.columns}

    def part(self, planes: Planes, first: int, last: int) -> Planes:
        """Those of some of the tokens."""
        entries = slice(first, last)
        if COUNTS in planes:
            counts = _joined(planes[COUNTS], "<u2").cumsum()
            entries = slice(counts[first - 1] if first else 0, counts[last - 1])
        return {
            one.name: planes[one.name][:, entries if one.width is None else slice(first, last)]
            for one in self.columns
        }

    def packed(self, planes: Planes) -> bytes:
        """A block."""
        frames: list[bytes] = []
        for narrow, columns in groupby(self.columns, lambda one: one.width == 1):
            own = [plane.tobytes() for one in columns for plane in planes[one.name]]
            frames += [b"".join(own)] if narrow else own
        return packing.compressed(frames)

    def unpacked(self, content: pa.Buffer, tokens: int) -> Planes:
        """What was packed of so many tokens."""
        left, found = packing.undone(content), {}
        ragged = sum(one.bytes for one in self.columns if one.width is None)
        for one in self.columns:
            if one.width is None:
                shape = (one.bytes, len(left) // ragged)
                ragged -= one.bytes
            else:
                shape = (one.bytes, tokens, one.width)
            found[one.name] = left[: math.prod(shape)].reshape(shape)
            left = left[math.prod(shape) :]
        return found

    def numbers(self, parts: Sequence[Planes]) -> Numbers:
        """The numbers of several parts, after each other."""
        return {
            one.name: _joined(np.concatenate([part[one.name] for part in parts], 1), one.dtype)
            for one in self.columns
        }


def _planes(numbers: np.ndarray, column: Column) -> np.ndarray:
    held = np.ascontiguousarray(numbers, dtype=column.dtype)
    if not np.issubdtype(held.dtype, np.floating) and not (held == numbers).all():
        raise ValueError(f"{column.name}: {numbers.min()} to {numbers.max()} exceed {column.dtype}")
    return np.moveaxis(held.view(np.uint8).reshape(*held.shape, column.bytes), -1, 0)


def _joined(planes: np.ndarray, dtype: str) -> np.ndarray:
    together = np.empty((*planes.shape[1:], len(planes)), np.uint8)
    for at, plane in enumerate(planes):
        together[..., at] = plane
    return together.view(dtype)[..., 0]


def ranked(facts: Facts) -> int:
    """How many of a teacher's likeliest tokens are known: of K tokens, K - 1 are sure to be."""
    known = facts.vocabulary
    if facts.k is not None and facts.k < facts.vocabulary:
        known = facts.k - 1
    return min(RANKED, known)


def layout(facts: Facts, width: int | None = None) -> Layout:
    """Of the blocks of a cache; `width` is that of hidden states."""
    target = Column("target", "<f4")
    gaps = "<u2" if facts.vocabulary <= 1 << 16 else "<u4"
    match facts.tier:
        case "top_k":
            assert facts.k is not None
            narrow = [Column("other", "<f2"), Column("floors", "<i2")]
            wide = [Column("gaps", gaps, facts.k - 1), Column("levels", "<u2", facts.k - 1)]
            columns = "<u1" if facts.k <= 1 << 8 else gaps
            return Layout([target, *narrow, Column("likeliest", columns, ranked(facts)), *wide])
        case "sampled":
            ragged = [Column("gaps", gaps, None), Column("counts", "<u2", None)]
            return Layout([target, Column(COUNTS, "<u2"), *ragged])
        case "hidden":
            likeliest = Column("likeliest", gaps, ranked(facts))
            return Layout([target, likeliest, Column("states", "<f2", width)])
