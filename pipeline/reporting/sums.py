"""Items added up: of each measure two sums for every item, over its decoding seeds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
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
    examples: int  # a hash of the ids: two that are equal are of the same items

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


def sums_of(items: pd.DataFrame, place: str) -> Mapping[Key, Sums]:
    """Of everything that one evaluation measured. Raises ValueError naming `place` on bad items."""
    if items.empty:
        raise ValueError(f"{place} has no items; evaluate again")
    values, weights = items["value"].to_numpy(), items["weight"].to_numpy()
    if not (np.isfinite(values).all() and np.isfinite(weights).all()):
        raise ValueError(f"{place} has a value or weight that is no finite number")
    return dict(_summed(_coded(items, place), values, weights, place))


@dataclass(frozen=True)
class Coded:
    """The items' names as numbers, row by row."""

    measured: np.ndarray
    keys: Mapping[int, Key]
    ids: np.ndarray  # in the order of their names
    names: np.ndarray


def _coded(items: pd.DataFrame, place: str) -> Coded:
    columns = [_encoded(items[name]) for name in KEY]
    measured = np.zeros(len(items), dtype=np.int64)
    for codes, names in columns:
        measured = measured * len(names) + codes
    keys = {}
    for code, row in zip(*np.unique(measured, return_index=True), strict=True):
        keys[int(code)] = Key(*(names[codes[row]] for codes, names in columns))

    ids, names = in_order(items["example_id"])
    draws, seeds = _encoded(items["decoding_seed"])
    draw = (measured * len(names) + ids) * len(seeds) + draws
    if len(np.unique(draw)) < len(draw):
        twice = pd.Series(draw).duplicated().to_numpy()
        raise ValueError(f"{place} has an item twice: {names[ids[twice][0]]!r}")
    return Coded(measured, keys, ids, np.asarray(names, dtype=object))


def in_order(names: pd.Series) -> tuple[np.ndarray, list[str]]:
    """For each row the place of its name among the distinct ones, and these in their order."""
    codes, distinct = _encoded(names)
    order = sorted(range(len(distinct)), key=distinct.__getitem__)
    return np.argsort(order)[codes], [distinct[code] for code in order]


def _encoded(column: pd.Series) -> tuple[np.ndarray, list]:
    """A number for each row, and the distinct values that they stand for."""
    # pandas' own factorization takes ten times as long where a column is as short as here
    found = pa.array(column, from_pandas=True)
    found = found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
    coded = found.dictionary_encode()
    return coded.indices.to_numpy(), coded.dictionary.to_pylist()


def _summed(
    coded: Coded, values: np.ndarray, weights: np.ndarray, place: str
) -> Iterator[tuple[Key, Sums]]:
    hashes: dict[bytes, int] = {}
    order = np.argsort(coded.measured, kind="stable")
    ends = np.flatnonzero(np.diff(coded.measured[order])) + 1
    for rows in np.split(order, ends):
        key = coded.keys[int(coded.measured[rows[0]])]
        own = weights[rows]
        if (own < 0).any() or not own.sum() > 0:
            raise ValueError(
                f"{place}: the weights of {key.task} {key.slice} {key.metric} sum to nothing"
            )
        present, places = np.unique(coded.ids[rows], return_inverse=True)
        if (kept := present.tobytes()) not in hashes:
            hashes[kept] = hash("\n".join(coded.names[present]))
        weighted = np.bincount(places, own * values[rows])
        yield key, Sums(weighted, np.bincount(places, own), hashes[kept])
