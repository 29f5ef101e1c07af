"""A teacher that was written to disk: its distributions are looked up by example.

Row groups of the Parquet files are read as they are needed, and a bounded part of them stays
decoded in memory.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artifacts import artifact, checksums
from pipeline.data.batch import Batch, Text
from pipeline.distributions.log_probs import TeacherDistributions, TeacherSignal
from pipeline.models.logits import LogitScaling
from pipeline.runtime.costs import ModelCounter
from pipeline.settings.memory import CACHE_READER_BYTES
from pipeline.teacher_cache import lm_head
from pipeline.teacher_cache.format import (
    HEAD,
    CacheMetadata,
    Rows,
    VocabularyOrder,
    read_metadata,
    read_order,
    schema,
)
from pipeline.teacher_cache.tiers import Hidden, Sampled, Tier, TopK, top_ids


@dataclass(frozen=True, order=True)
class RowGroup:
    """A row group of a shard."""

    shard: int
    number: int


@dataclass(frozen=True)
class TextLocation:
    """The location of a text's tokens."""

    group: RowGroup
    tokens: slice  # of the group


@dataclass(frozen=True)
class Shard:
    """An open file."""

    path: Path
    file: pq.ParquetFile
    order: VocabularyOrder | None  # where supports are stored


class CacheReader:
    """Random access to the texts of a cache, from any thread."""

    def __init__(self, folder: Path, paths: Iterable[Path], tier: Tier, memory_bytes: int):
        self.folder, self.tier, self.memory_bytes = folder, tier, memory_bytes
        self.shards = [_open(path, tier) for path in paths]
        self.locations = {
            name: location
            for number, shard in enumerate(self.shards)
            for name, location in _locations(number, shard.file)
        }
        self.decoded: OrderedDict[RowGroup, Rows] = OrderedDict()  # least recently used first
        self.decoded_bytes = 0
        self.lock = threading.Lock()

    def rows(self, texts: Sequence[Text]) -> Rows:
        """The decoded rows of the texts' tokens, one text after the other.

        Raises: ValueError for a text that is not there or has another response, or if the cache
            is damaged.
        """
        locations = [self._location(text) for text in texts]
        with self.lock:
            groups = self._groups({location.group for location in locations})
        parts = [
            {name: column[location.tokens] for name, column in groups[location.group].items()}
            for location in locations
        ]
        for text, part in zip(texts, parts, strict=True):
            if not np.array_equal(part["token_ids"], text.target_ids):
                raise self._other_texts(f"another response for example {text.example_id}")
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _location(self, text: Text) -> TextLocation:
        location = self.locations.get(text.example_id)
        if location is None:
            raise self._other_texts(f"no signal for example {text.example_id}")
        return location

    def _other_texts(self, fault: str) -> ValueError:
        return ValueError(
            f"{self.folder} has {fault}: it was made from other texts; delete it and run again"
        )

    def _groups(self, wanted: Iterable[RowGroup]) -> dict[RowGroup, Rows]:
        """Decoded row groups, from memory where they are there."""
        groups = {group: self.decoded.pop(group) for group in wanted if group in self.decoded}
        missing = sorted(group for group in wanted if group not in groups)
        for shard, of_shard in groupby(missing, lambda group: group.shard):
            fresh = dict(self._decode(self.shards[shard], list(of_shard)))
            self.decoded_bytes += sum(_size(rows) for rows in fresh.values())
            groups |= fresh
        self.decoded |= groups
        while self.decoded_bytes > self.memory_bytes:
            _, oldest = self.decoded.popitem(last=False)
            self.decoded_bytes -= _size(oldest)
        return groups

    def _decode(self, shard: Shard, groups: Sequence[RowGroup]) -> Iterator[tuple[RowGroup, Rows]]:
        numbers = [group.number for group in groups]
        names = [name for name in shard.file.schema_arrow.names if name != "example_id"]
        try:
            table = shard.file.read_row_groups(numbers, columns=names, use_threads=False)
        except OSError as error:  # Arrow's, for a checksum of a page too
            raise checksums.damaged(self.folder, f"{shard.path} is damaged: {error}") from None
        rows, first = self.tier.decode(table, shard.order), 0
        for group in groups:
            last = first + shard.file.metadata.row_group(group.number).num_rows
            # a copy: a view would hold all of them in memory
            yield group, {name: column[first:last].copy() for name, column in rows.items()}
            first = last


def _size(rows: Rows) -> int:
    return sum(column.nbytes for column in rows.values())


def _open(path: Path, tier: Tier) -> Shard:
    checksums.verify(path.parent, path.name)
    try:
        file = pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{path} is not whole Parquet ({error}); delete {path.parent} and run again"
        ) from None
    metadata, width = tier.metadata, None
    if isinstance(tier, Hidden):
        width = tier.head.linear.in_features
    expected = schema(metadata, width)
    if not file.schema_arrow.equals(expected):
        raise ValueError(
            f"{path} has columns {file.schema_arrow.names}, expected {expected.names}; "
            f"delete {path.parent} and run again"
        )
    order = None if width else read_order(file.metadata.metadata, metadata.vocabulary)
    return Shard(path, file, order)


def _locations(shard: int, file: pq.ParquetFile) -> Iterator[tuple[str, TextLocation]]:
    """The names of the texts of a file and where they are; no row group ends within a text."""
    for number in range(file.num_row_groups):
        names = file.read_row_group(number, columns=["example_id"])["example_id"].combine_chunks()
        encoded, first = names.dictionary_encode(), 0
        counts = np.bincount(encoded.indices.to_numpy()).tolist()
        for name, count in zip(encoded.dictionary.to_pylist(), counts, strict=True):
            yield name, TextLocation(RowGroup(shard, number), slice(first, first + count))
            first += count


@dataclass(frozen=True)
class CachedTeacher:
    """A teacher whose distributions are looked up by example."""

    reader: CacheReader
    tier: Tier

    def signal(self, batch: Batch) -> TeacherSignal:
        """The stored distributions, and the top-ranked tokens.

        Raises: ValueError for a text that was not cached.
        """
        rows = self.reader.rows(batch.texts)
        signal = self.tier.distributions(rows, batch).chunk(slice(None))
        return replace(signal, top_ids=top_ids(rows, batch.next_ids.device))

    def distributions(self, batch: Batch) -> TeacherDistributions:
        """The distributions, looked up at once, from any thread; what is wide is made by parts."""
        return self.tier.distributions(self.reader.rows(batch.texts), batch)

    def count(self) -> ModelCounter:
        """The counter of what is run of the teacher while signals are read."""
        return self.tier.work


def open_cache(
    folder: Path,
    splits: Sequence[str],
    metadata: CacheMetadata | None = None,
    memory_bytes: int = CACHE_READER_BYTES,
) -> CachedTeacher:
    """The cache in `folder`, of these splits. Raises ValueError if it is damaged.

    `metadata` are those of a cache whose manifest is yet to be written. No more than `memory_bytes`
    of it are decoded at a time.
    """
    metadata = metadata or read_metadata(folder)
    paths = [path for split in splits for path in _shard_paths(folder, metadata.shards, split)]
    tier = _tier(folder, metadata)
    return CachedTeacher(CacheReader(folder, paths, tier, memory_bytes), tier)


def _tier(folder: Path, metadata: CacheMetadata) -> Tier:
    match metadata.tier:
        case "top_k":
            return TopK(metadata)
        case "sampled":
            return Sampled(metadata)
        case "hidden":
            scaling = LogitScaling(metadata.hidden_scale, metadata.logit_scale, metadata.softcap)
            return Hidden(metadata, lm_head.load(folder / HEAD, scaling))


def _shard_paths(folder: Path, names: Iterable[str], split: str) -> list[Path]:
    paths = [folder / name for name in names if name.startswith(f"{split}-")]
    if not paths:
        raise ValueError(f"{folder} lacks {split}; delete it and run again")
    return paths


def check_cache(folder: Path, texts: str, vocabulary: int | None = None) -> None:
    """Raises ValueError unless the cache was made from the texts of this id, in this vocabulary.

    Its teacher is part of its id, so a cache of another teacher stands under a name not its own.
    """
    manifest = artifact.read_json(folder / artifact.MANIFEST)
    if manifest["id"] != folder.name:
        raise ValueError(
            f"{folder} holds {manifest['id']}, the signal of {manifest['inputs']['teacher']}; "
            "delete it and run again"
        )
    made_from = manifest["inputs"]["tokens"]
    if made_from != texts:
        raise ValueError(
            f"{folder} holds the teacher's signal for {made_from}, not for {texts}; "
            "delete it and run again"
        )
    if vocabulary is not None and manifest["vocabulary"] != vocabulary:
        raise ValueError(
            f"{folder} is over {manifest['vocabulary']} tokens, the student over {vocabulary}: "
            "teacher and student must share a vocabulary"
        )
