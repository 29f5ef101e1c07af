"""The shards of a cache: looked up by example, mapped from disk, a bounded part of them decoded.

A block is read where it lies in the mapped file. Parquet puts the values of a plain, uncompressed
column one after the other, each behind its length, so that those of a row group end with its page;
to have Parquet read the group takes as long as all the rest.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artifacts import checksums, schemas
from pipeline.data.batch import Text, response_digest
from pipeline.teacher_cache import packing
from pipeline.teacher_cache.format import Numbers, Planes
from pipeline.teacher_cache.metadata import OCTAVES
from pipeline.teacher_cache.tiers import Tier

INDEX = ["example_ids", "response_digests", "tokens"]
LENGTH_BYTES = 4  # before each value of a column of bytes


@dataclass(frozen=True, order=True)
class Block:
    """Where a block is, and of how many tokens it is."""

    shard: int
    offset: int  # in the file
    bytes: int
    tokens: int


@dataclass(frozen=True)
class Place:
    """Where the tokens of a text are."""

    block: Block
    first: int  # token of the block
    tokens: int
    response_digest: bytes


@dataclass(frozen=True)
class Shard:
    """An open file."""

    content: pa.Buffer  # of the mapped file
    order: packing.Order | None  # of the vocabulary, where it holds tokens


class Store:
    """Random access to the texts of a cache, from any thread."""

    def __init__(self, folder: Path, files: Iterable[Path], tier: Tier, memory: int):
        self.folder, self.tier, self.memory = folder, tier, memory
        self.shards: list[Shard] = []
        self.places: dict[str, Place] = {}
        for number, path in enumerate(files):
            file = _open(path)
            self.shards.append(_shard(path, file))
            for block, row in _blocks(number, file):
                self.places.update(_places(block, row))
        self.decoded: OrderedDict[str, Numbers] = OrderedDict()  # the least recently used first
        self.decoded_bytes = 0
        self.lock = threading.Lock()

    def rows(self, texts: Sequence[Text]) -> Numbers:
        """The tokens of the texts, one text after the other.

        Raises: ValueError for a text that is not there, or has another response.
        """
        places = {text.example_id: self._place(text) for text in texts}
        with self.lock:
            found = {name: self.decoded[name] for name in places if name in self.decoded}
            for name in found:
                self.decoded.move_to_end(name)
        missing = [name for name in places if name not in found]
        missing.sort(key=lambda name: places[name].block)
        fresh: dict[str, Numbers] = {}
        for shard, names in groupby(missing, lambda name: places[name].block.shard):
            fresh |= self._decoded(shard, {name: places[name] for name in names})
        self._keep(fresh)
        parts = [(found | fresh)[text.example_id] for text in texts]
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

    def _decoded(self, shard: int, places: Mapping[str, Place]) -> dict[str, Numbers]:
        """Texts of a shard, in the order of their blocks: all their tokens are decoded at once."""
        with self.lock:
            parts = list(self._parts(self.shards[shard].content, places.values()))
        rows = self.tier.decode(self.tier.layout.numbers(parts), self.shards[shard].order)
        ends = np.cumsum([place.tokens for place in places.values()])
        return {
            # a copy: a view would hold all of them in memory
            name: {key: values[end - place.tokens : end].copy() for key, values in rows.items()}
            for (name, place), end in zip(places.items(), ends, strict=True)
        }

    def _parts(self, content: pa.Buffer, places: Iterable[Place]) -> Iterable[Planes]:
        for block, in_block in groupby(places, lambda place: place.block):
            length = content.slice(block.offset - LENGTH_BYTES, LENGTH_BYTES).to_pybytes()
            assert int.from_bytes(length, "little") == block.bytes
            packed = content.slice(block.offset, block.bytes)
            planes = self.tier.layout.unpacked(packed, block.tokens)
            for place in in_block:
                yield self.tier.layout.part(planes, place.first, place.first + place.tokens)

    def _keep(self, fresh: Mapping[str, Numbers]) -> None:
        with self.lock:
            for name, rows in fresh.items():
                if name not in self.decoded:  # another thread may have been as fast
                    self.decoded[name] = rows
                    self.decoded_bytes += _size(rows)
            while self.decoded_bytes > self.memory:
                _, oldest = self.decoded.popitem(last=False)
                self.decoded_bytes -= _size(oldest)


def _size(rows: Numbers) -> int:
    return sum(values.nbytes for values in rows.values())


def _open(path: Path) -> pq.ParquetFile:
    checksums.verify(path.parent, path.name)
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{path} is not whole Parquet ({error}); delete {path.parent} and run again"
        ) from None
    if not file.schema_arrow.equals(schemas.SIGNALS):
        raise ValueError(
            f"{path} has columns {file.schema_arrow.names}, expected {schemas.SIGNALS.names}; "
            f"delete {path.parent} and run again"
        )
    return file


def _shard(path: Path, file: pq.ParquetFile) -> Shard:
    octaves = (file.metadata.metadata or {}).get(OCTAVES)
    order = None if octaves is None else packing.order(packing.undone(pa.py_buffer(octaves)))
    return Shard(pa.memory_map(str(path)).read_buffer(), order)


def _blocks(shard: int, file: pq.ParquetFile) -> Iterable[tuple[Block, Mapping[str, list]]]:
    """Where each block of a file is, and the rest of its row."""
    for group in range(file.num_row_groups):
        rows = file.read_row_group(group, columns=[*INDEX, "signal_bytes"]).to_pylist()
        columns = file.metadata.row_group(group)
        signal = columns.column(columns.num_columns - 1)
        end = signal.data_page_offset + signal.total_compressed_size
        offset = end - sum(LENGTH_BYTES + row["signal_bytes"] for row in rows)
        for row in rows:
            offset += LENGTH_BYTES
            yield Block(shard, offset, row["signal_bytes"], sum(row["tokens"])), row
            offset += row["signal_bytes"]


def _places(block: Block, row: Mapping[str, list]) -> Iterable[tuple[str, Place]]:
    first = 0
    for name, digest, tokens in zip(*(row[key] for key in INDEX), strict=True):
        yield name, Place(block, first, tokens, digest)
        first += tokens
