"""Items added up: of each measure two sums for every item, over its decoding seeds."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import pyarrow as pa

KEY = ["task", "slice", "metric", "teacher"]


@dataclass(frozen=True)
class Key:
    """What was measured, and against which teacher if any."""

    task: str
    slice: str
    metric: str
    teacher: str  # artifact id; empty where the metric needs none


@dataclass(frozen=True)
class Sums:
    """Σ weight · value and Σ weight of each item, in the order of their ids."""

    weighted: np.ndarray
    weights: np.ndarray
    examples: int  # a digest of the ids: two that are equal are of the same items

    @cached_property
    def value(self) -> float:
        """The weighted mean."""
        return float(self.weighted.sum() / self.weights.sum())

    @property
    def error(self) -> float:
        """Its standard error as a ratio of two sums over drawn items; NaN for a single one."""
        n = len(self.weights)
        if n == 1:
            return float("nan")
        # both sums vary: deviations from the ratio
        deviations = self.weighted - self.value * self.weights
        return float(np.sqrt(n / (n - 1) * (deviations**2).sum()) / self.weights.sum())


def sums_of(items: pa.Table, place: str) -> dict[Key, Sums]:
    """Of everything that one evaluation measured, but what is not defined on any of its items.

    Raises ValueError naming `place` on bad items.
    """
    if not len(items):
        raise ValueError(f"{place} has no items; evaluate again")
    values, weights = items["value"].to_numpy(), items["weight"].to_numpy()
    undefined = np.isnan(values) & (weights == 0)
    values = np.where(undefined, 0.0, values)
    if not (np.isfinite(values).all() and np.isfinite(weights).all()):
        raise ValueError(f"{place} has a value or weight that is no finite number")
    if (weights < 0).any():
        raise ValueError(f"{place} has a weight below zero")
    coded = _coded(items, place)
    return dict(_summed(coded, values, weights, set(coded.measured[undefined].tolist()), place))


@dataclass(frozen=True)
class Coded:
    """The items' names as numbers, row by row."""

    measured: np.ndarray
    keys: Mapping[int, Key]
    ids: np.ndarray  # in the order of their names
    names: list[str]


def _coded(items: pa.Table, place: str) -> Coded:
    columns = [_encoded(items[name]) for name in KEY]
    measured = np.zeros(len(items), dtype=np.int64)
    for codes, names in columns:
        measured = measured * len(names) + codes
    keys = {}
    for code, row in zip(*np.unique(measured, return_index=True), strict=True):
        keys[int(code)] = Key(*(names[codes[row]] for codes, names in columns))

    ids, names = in_order(items["example_id"])
    draws, seeds = _encoded(items["decoding_seed"])
    drawn = np.sort((measured * len(names) + ids) * len(seeds) + draws)
    if len(twice := drawn[1:][drawn[1:] == drawn[:-1]]):
        name = names[twice[0] // len(seeds) % len(names)]
        raise ValueError(f"{place} has an item twice: {name!r}")
    return Coded(measured, keys, ids, names)


def in_order(names: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    """For each row the place of its name among the distinct ones, and these in their order."""
    codes, distinct = _encoded(names)
    order = sorted(range(len(distinct)), key=distinct.__getitem__)
    return np.argsort(order)[codes], [distinct[code] for code in order]


def _encoded(column: pa.ChunkedArray) -> tuple[np.ndarray, list]:
    """A number for each row, and the distinct values that they stand for."""
    coded = column.combine_chunks().dictionary_encode()
    return coded.indices.to_numpy(), coded.dictionary.to_pylist()


def digest(names: Iterable[str]) -> int:
    """A number for names in their order: Python's own hash differs between processes."""
    return int.from_bytes(hashlib.sha256("\n".join(names).encode()).digest()[:8])


def _summed(
    coded: Coded, values: np.ndarray, weights: np.ndarray, partly: Set[int], place: str
) -> Iterator[tuple[Key, Sums]]:
    """The sums of each measure: those of all of them are added up together, then divided.

    `partly` are the measures that are not defined on some items, and skipped if it is on all.
    """
    count = len(coded.names)
    found, rows = np.unique(coded.measured * count + coded.ids, return_inverse=True)
    weighted, added = np.bincount(rows, weights * values), np.bincount(rows, weights)
    measured, ids = np.divmod(found, count)
    digests: dict[bytes, int] = {}
    ends = [0, *(np.flatnonzero(np.diff(measured)) + 1), len(found)]
    for start, end in pairwise(ends):
        key = coded.keys[int(measured[start])]
        if not added[start:end].sum() > 0:
            if int(measured[start]) in partly:
                continue
            raise ValueError(
                f"{place}: the weights of {key.task} {key.slice} {key.metric} sum to nothing"
            )
        if (kept := ids[start:end].tobytes()) not in digests:
            digests[kept] = digest(coded.names[id] for id in ids[start:end])
        yield key, Sums(weighted[start:end], added[start:end], digests[kept])
