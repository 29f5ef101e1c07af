"""The shards of a cache: looked up by example, mapped from disk, a bounded part of them decoded."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import integrity
from pipeline.cache import packing
from pipeline.cache.facts import OCTAVES
from pipeline.texts import Text, response_digest

MEMORY_BYTES = 512 << 20  # of decoded row groups; the index and the compressed files come on top

Arrays = Mapping[str, np.ndarray]  # a row for each token
Decode = Callable[[pa.Table, packing.Order | None], Arrays]


@dataclass(frozen=True)
class Place:
    """Where the tokens of a text are."""

    shard: int
    group: int
    first: int  # token of the row group
    tokens: int
    response_digest: bytes


@dataclass(frozen=True)
class Shard:
    """An open file."""

    file: pq.ParquetFile
    order: packing.Order | None  # of the vocabulary, where it holds tokens


class Store:
    """Random access to the texts of a cache, from any thread."""

    def __init__(
        self, folder: Path, files: Iterable[Path], schema: pa.Schema, decode: Decode, memory: int
    ):
        self.folder, self.decode, self.memory = folder, decode, memory
        self.shards = [_open(path, schema) for path in files]
        self.places: dict[str, Place] = {}
        for number, shard in enumerate(self.shards):
            self.places.update(_places(number, shard.file))
        self.decoded: OrderedDict[tuple[int, int], Arrays] = OrderedDict()
        self.decoded_bytes = 0
        self.lock = threading.Lock()

    def rows(self, texts: Sequence[Text]) -> Arrays:
        """The tokens of the texts, one text after the other.

        Raises: ValueError for a text that is not there, or has another response.
        """
        parts = []
        for text in texts:
            place = self._place(text)
            group = self._group(place.shard, place.group)
            own = slice(place.first, place.first + place.tokens)
            parts.append({name: values[own] for name, values in group.items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _place(self, text: Text) -> Place:
        place = self.places.get(text.example_id)
        if place is None:
            raise ValueError(self._foreign(f"no signal for example {text.example_id}"))
        if place.response_digest != response_digest(text):
            raise ValueError(
                self._foreign(
                    f"no signal of these {len(text.response_ids)} tokens for example "
                    f"{text.example_id}, but of {place.tokens}"
                )
            )
        return place

    def _foreign(self, fault: str) -> str:
        return f"{self.folder} has {fault}: it was made from other texts; delete it and run again"

    def _group(self, shard: int, group: int) -> Arrays:
        with self.lock:
            found = self.decoded.get((shard, group))
            if found is not None:
                self.decoded.move_to_end((shard, group))
                return found
            source = self.shards[shard]
            table = source.file.read_row_group(group, use_threads=False)
            arrays = self.decode(table, source.order)
            self.decoded[shard, group] = arrays
            self.decoded_bytes += _size(arrays)
            while self.decoded_bytes > self.memory and len(self.decoded) > 1:
                _, oldest = self.decoded.popitem(last=False)
                self.decoded_bytes -= _size(oldest)
            return arrays


def _size(arrays: Arrays) -> int:
    return sum(values.nbytes for values in arrays.values())


def _open(path: Path, schema: pa.Schema) -> Shard:
    integrity.check(path.parent, path.name)
    try:
        file = pq.ParquetFile(path, memory_map=True)
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{path} is not whole Parquet ({error}); delete {path.parent} and run again"
        ) from None
    if not file.schema_arrow.equals(schema):
        raise ValueError(
            f"{path} has columns {file.schema_arrow.names}, expected {schema.names}; "
            f"delete {path.parent} and run again"
        )
    stored = (file.metadata.metadata or {}).get(OCTAVES)
    return Shard(file, None if stored is None else packing.order(packing.unpacked(stored)))


def _places(number: int, file: pq.ParquetFile) -> Iterable[tuple[str, Place]]:
    for group in range(file.num_row_groups):
        table = file.read_row_group(group, columns=["example_id", "tokens", "response_digest"])
        first = 0
        for row in table.to_pylist():
            place = Place(number, group, first, row["tokens"], row["response_digest"])
            yield row["example_id"], place
            first += row["tokens"]


def bytes_of(table: pa.Table, name: str) -> np.ndarray:
    """The bytes of a binary column, those of all rows after each other, without a copy."""
    column = table.column(name).combine_chunks()
    column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    _, offsets, content = column.buffers()
    bounds = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
    return np.frombuffer(content, np.uint8)[bounds[0] : bounds[-1]]


def numbers_of(table: pa.Table, name: str) -> np.ndarray:
    """The numbers of a column of lists, those of all rows after each other."""
    return table.column(name).combine_chunks().flatten().to_numpy(zero_copy_only=False)
