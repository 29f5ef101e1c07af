"""What was captured, as the Parquet file of a shard."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import schemas
from pipeline.cache import packing
from pipeline.cache.facts import OCTAVES, STEP, Facts
from pipeline.teacher_cache.capture import Captured
from pipeline.texts import Text, response_digest

# what is decoded to read one text: fewer tokens cost bytes, more cost time
GROUP_TOKENS = {"top_k": 1024, "sampled": 1024, "hidden": 128}
ZSTD_LEVEL = 9  # as fast to read as any; the next ones save 1 % and take ten times as long

Arrays = Mapping[str, np.ndarray]
Columns = dict[str, pa.Array]


def write(path: Path, captured: Sequence[Captured], facts: Facts) -> None:
    """The file of a shard. Raises ValueError for what its format cannot hold."""
    texts = [text for one in captured for text in one.texts]
    rows = _joined(captured)
    lengths = np.array([len(text.response_ids) for text in texts])
    columns, order = _ENCODE[facts.tier](rows, lengths, facts)
    table = _table(texts, lengths, rows["target"], columns, schemas.SIGNALS[facts.tier])
    with pq.ParquetWriter(
        path,
        table.schema,
        compression="zstd",
        compression_level=ZSTD_LEVEL,
        use_dictionary=False,
        write_statistics=False,
    ) as writer:
        for first, last in _groups(lengths, GROUP_TOKENS[facts.tier]):
            group = table.slice(first, last - first)
            writer.write_table(group, row_group_size=max(1, group.num_rows))
        if order is not None:
            writer.add_key_value_metadata({OCTAVES: packing.packed(order)})


def _joined(captured: Sequence[Captured]) -> Arrays:
    for one in captured:
        one.wait()
    parts = [part for one in captured for part in one.parts]
    return {name: np.concatenate([part[name].numpy() for part in parts]) for name in parts[0]}


def _groups(lengths: np.ndarray, enough: int) -> Iterator[tuple[int, int]]:
    """Stretches of texts, each with enough tokens for a row group."""
    first, tokens = 0, 0
    for at, length in enumerate(lengths, start=1):
        tokens += length
        if tokens >= enough:
            yield first, at
            first, tokens = at, 0
    if first < len(lengths):
        yield first, len(lengths)


def _table(
    texts: Sequence[Text],
    lengths: np.ndarray,
    target: np.ndarray,
    columns: Columns,
    schema: pa.Schema,
) -> pa.Table:
    own = {
        "example_id": pa.array([text.example_id for text in texts]),
        "response_digest": pa.array([response_digest(text) for text in texts], pa.binary(8)),
        "tokens": pa.array(lengths, pa.int32()),
        "target_log_probs": _lists(target, lengths, pa.float32()),
    }
    return pa.table(own | columns, schema=schema)


def _top_k(rows: Arrays, lengths: np.ndarray, facts: Facts) -> tuple[Columns, packing.Plane]:
    octaves = packing.octaves(rows["ids"].ravel(), facts.vocabulary)
    places = packing.positions(packing.order(octaves))[rows["ids"]]
    by_place = places.argsort(axis=-1)
    gaps = packing.gaps(np.take_along_axis(places, by_place, axis=-1))
    steps = np.rint(np.take_along_axis(rows["log_probs"], by_place, axis=-1) / STEP)
    floors = steps.min(axis=-1)
    if floors.min() < np.iinfo(np.int16).min:
        raise ValueError(
            f"a log-probability of {floors.min() * STEP:.0f} is too low for a cache of this tier; "
            "set teacher_cache.tier = 'hidden', or a smaller teacher_cache.k"
        )
    width = gaps.shape[-1] * lengths
    temperatures = rows["log_normalisers"].shape[-1]
    columns = {
        **_planes("gaps", ("low", "middle", "high"), gaps, width),
        **_planes("levels", ("low", "high"), steps - floors[:, None], width),
        "floors": _lists(floors, lengths, pa.int16()),
        "other_log_probs": _lists(rows["other"], lengths, pa.float16()),
        "entropies": _lists(rows["entropy"], lengths, pa.float16()),
        "log_normalisers": _lists(
            rows["log_normalisers"].ravel(), lengths * temperatures, pa.float32()
        ),
    }
    return columns, octaves


def _sampled(rows: Arrays, lengths: np.ndarray, facts: Facts) -> tuple[Columns, packing.Plane]:
    came_up = rows["counts"] > 0
    distinct = came_up.sum(axis=-1)
    octaves = packing.octaves(rows["ids"][came_up], facts.vocabulary)
    places = packing.positions(packing.order(octaves))[rows["ids"]]
    # what never came up goes to the end of its row
    by_place = np.where(came_up, places, facts.vocabulary).argsort(axis=-1, kind="stable")
    sorted_places, counts = (
        np.take_along_axis(one, by_place, axis=-1) for one in (places, rows["counts"])
    )
    first = np.arange(places.shape[-1]) < distinct[:, None]
    widths = np.add.reduceat(distinct, np.cumsum([0, *lengths[:-1]]))
    columns = {
        "distinct": _lists(distinct, lengths, pa.uint16()),
        **_planes("gaps", ("low", "middle", "high"), packing.gaps(sorted_places)[first], widths),
        **_planes("counts", ("low", "high"), counts[first], widths),
    }
    return columns, octaves


def _hidden(rows: Arrays, lengths: np.ndarray, _: Facts) -> tuple[Columns, None]:
    states = rows["states"]
    if not np.isfinite(states).all():
        raise ValueError(
            "the teacher's hidden states do not fit half precision; set teacher_cache.tier = "
            "'top_k'"
        )
    widths = lengths * states.shape[-1]
    return _planes("states", ("low", "high"), states.view(np.uint16), widths), None


_ENCODE = {"top_k": _top_k, "sampled": _sampled, "hidden": _hidden}


def _planes(name: str, suffixes: Sequence[str], numbers: np.ndarray, widths: np.ndarray) -> Columns:
    """A column for each byte of the numbers, of which a text has as many as its width."""
    planes = packing.planes(numbers, len(suffixes))
    offsets = pa.py_buffer(_offsets(widths, np.int64))
    return {
        f"{name}_{suffix}": pa.Array.from_buffers(
            pa.large_binary(), len(widths), [None, offsets, pa.py_buffer(plane)]
        )
        for suffix, plane in zip(suffixes, planes, strict=True)
    }


def _lists(numbers: np.ndarray, widths: np.ndarray, kind: pa.DataType) -> pa.Array:
    """A list for each text, as long as its width."""
    values = pa.array(numbers.astype(kind.to_pandas_dtype()), kind)
    return pa.ListArray.from_arrays(pa.array(_offsets(widths, np.int32)), values)


def _offsets(widths: np.ndarray, kind: type[np.integer]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(widths)]).astype(kind)
