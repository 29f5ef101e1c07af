"""What was captured, as the Parquet file of a shard."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artifacts import schemas
from pipeline.data.batch import Text, response_digest
from pipeline.teacher_cache import packing
from pipeline.teacher_cache.capture import Captured
from pipeline.teacher_cache.format import COUNTS, Layout, Numbers, layout, ranked
from pipeline.teacher_cache.metadata import OCTAVES, Facts

# undone to read one text: with fewer tokens, statistics cost bytes; with more, reading takes longer
BLOCK_TOKENS = {"top_k": 128, "sampled": 128, "hidden": 1}
# of blocks in a row group, which is one page (see `pipeline.teacher_cache.store`): no page has
# more than
# 20,000 rows, so that small blocks count as if they were larger
GROUP_BYTES, LEAST_BYTES = 1 << 24, 1 << 10
COMPRESSION = {"example_ids.list.element": "zstd"}  # the others are small already

Arrays = Mapping[str, np.ndarray]


def write(path: Path, captured: Sequence[Captured], facts: Facts) -> None:
    """The file of a shard. Raises ValueError for what its format cannot hold."""
    texts = [text for one in captured for text in one.texts]
    rows = _joined(captured)
    numbers, octaves = _ENCODE[facts.tier](rows, facts)
    width = numbers["states"].shape[-1] if facts.tier == "hidden" else None
    blocks = list(_blocks(texts, numbers, layout(facts, width), BLOCK_TOKENS[facts.tier]))
    table = pa.Table.from_pylist(blocks, schemas.SIGNALS)
    with pq.ParquetWriter(
        path,
        table.schema,
        compression=COMPRESSION,
        use_dictionary=False,
        write_statistics=False,
        data_page_size=2 * GROUP_BYTES,
    ) as writer:
        sizes = [max(LEAST_BYTES, one) for one in table["signal_bytes"].to_pylist()]
        for first, last in _stretches(sizes, GROUP_BYTES):
            writer.write_table(table.slice(first, last - first), row_group_size=last - first)
        if octaves is not None:
            content = packing.compressed([octaves.tobytes()])
            writer.add_key_value_metadata({OCTAVES: content})


def refuse_not_numbers(captured: Sequence[Captured], teacher: str) -> None:
    """Raises ValueError, naming the teacher, where it gives a token that comes next no number."""
    for one in captured:
        one.wait()
        faulty = np.isnan(np.concatenate([part["target"].numpy() for part in one.parts]))
        if faulty.any():
            ends = np.cumsum([len(text.response_ids) for text in one.texts])
            text = one.texts[np.searchsorted(ends, faulty.argmax(), side="right")]
            raise ValueError(
                f"teacher {teacher}: its log-probabilities are not numbers (NaN) at {faulty.sum()} "
                f"of {len(faulty)} tokens, first in example {text.example_id}; if it was trained "
                "here, train it with a lower training.learning_rate; if it is used as it is, look "
                "at its weights, or read it with training.precision = 'float32'"
            )


def _joined(captured: Sequence[Captured]) -> Arrays:
    for one in captured:
        one.wait()
    parts = [part for one in captured for part in one.parts]
    return {name: np.concatenate([part[name].numpy() for part in parts]) for name in parts[0]}


def _blocks(
    texts: Sequence[Text], numbers: Numbers, layout: Layout, enough: int
) -> Iterator[dict[str, object]]:
    planes = layout.planes(numbers)
    lengths = [len(text.response_ids) for text in texts]
    bounds = [0, *accumulate(lengths)]
    for first, last in _stretches(lengths, enough):
        own = texts[first:last]
        signal = layout.packed(layout.part(planes, bounds[first], bounds[last]))
        yield {
            "example_ids": [text.example_id for text in own],
            "response_digests": [response_digest(text) for text in own],
            "tokens": lengths[first:last],
            "signal_bytes": len(signal),
            "signal": signal,
        }


def _stretches(sizes: Sequence[int], enough: int) -> Iterator[tuple[int, int]]:
    """Stretches of what has these sizes, each with enough of them but the last."""
    first, held = 0, 0
    for at, size in enumerate(sizes, start=1):
        held += size
        if held >= enough:
            yield first, at
            first, held = at, 0
    if first < len(sizes):
        yield first, len(sizes)


def _top_k(rows: Arrays, facts: Facts) -> tuple[Numbers, packing.Octaves]:
    octaves = packing.octaves(rows["ids"].ravel(), facts.vocabulary)
    places = packing.positions(packing.order(octaves))[rows["ids"]]
    steps = packing.steps(rows["log_probs"])
    floors = steps.min(axis=-1, keepdims=True)
    if floors.min() < np.iinfo(np.int16).min:
        raise ValueError(
            f"a log-probability of {rows['log_probs'].min():.0f} is too low for a cache of this "
            "tier; set teacher_cache.tier = 'hidden', or a smaller teacher_cache.k"
        )
    # whole numbers are sorted in a fifth of the time that it takes to find out their order
    by_place = places.astype(np.int64) << 16 | (steps - floors).astype(np.int64)
    by_place.sort(axis=-1)
    numbers = {
        "gaps": packing.gaps(by_place >> 16),
        "levels": by_place & 0xFFFF,
        "floors": floors,
        "likeliest": _columns(rows["rank"], places, ranked(facts)),
        **{name: rows[name][:, None] for name in ("target", "other")},
    }
    return numbers, octaves


def _columns(rank: np.ndarray, places: np.ndarray, count: int) -> np.ndarray:
    """Where the likeliest tokens stand in a support: the next token first, the others by place.

    `rank` is that of the next token; `places` are those of the others, by their rank.
    """
    columns = np.empty((len(rank), count), np.int64)
    for at in range(count):
        other = places[np.arange(len(rank)), np.minimum(at - (at > rank), places.shape[-1] - 1)]
        columns[:, at] = np.where(at == rank, 0, 1 + (places < other[:, None]).sum(axis=-1))
    return columns


def _sampled(rows: Arrays, facts: Facts) -> tuple[Numbers, packing.Octaves]:
    came_up = rows["counts"] > 0
    distinct = came_up.sum(axis=-1, keepdims=True)
    octaves = packing.octaves(rows["ids"][came_up], facts.vocabulary)
    places = packing.positions(packing.order(octaves))[rows["ids"]]
    # what never came up goes to the end of its row
    by_place = np.where(came_up, places, facts.vocabulary).argsort(axis=-1, kind="stable")
    sorted_places, counts = (
        np.take_along_axis(one, by_place, axis=-1) for one in (places, rows["counts"])
    )
    first = np.arange(places.shape[-1]) < distinct
    numbers = {
        "target": rows["target"][:, None],
        COUNTS: distinct,
        "gaps": packing.gaps(sorted_places)[first],
        "counts": counts[first],
    }
    return numbers, octaves


def _hidden(rows: Arrays, _: Facts) -> tuple[Numbers, None]:
    if not np.isfinite(rows["states"]).all():
        raise ValueError(
            "the teacher's hidden states do not fit half precision; set teacher_cache.tier = "
            "'top_k'"
        )
    numbers = {name: rows[name] for name in ("likeliest", "states")}
    return numbers | {"target": rows["target"][:, None]}, None


_ENCODE = {"top_k": _top_k, "sampled": _sampled, "hidden": _hidden}
