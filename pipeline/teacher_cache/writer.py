"""Writing what was captured of a teacher to the Parquet file of a shard."""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.data.batch import Text
from pipeline.teacher_cache.capture import CapturedBatch
from pipeline.teacher_cache.format import (
    MOST_STEPS,
    CacheMetadata,
    Rows,
    classes_metadata,
    frequency_classes,
    positions,
    quantize,
    schema,
    vocabulary_order,
)

# of decoded row groups, which are what is read at a time: smaller ones compress less
GROUP_BYTES = 1 << 16
COMPRESSION = 3  # of zstd: at level 9 files are 1 % smaller, and writing takes twice as long


def write(path: Path, captured: Sequence[CapturedBatch], metadata: CacheMetadata) -> None:
    """Writes the file of a shard. Raises ValueError for values that its format cannot hold."""
    texts = [text for batch in captured for text in batch.texts]
    rows = _joined(captured)
    columns, classes = _ENCODERS[metadata.tier](rows, metadata.vocabulary)
    columns["token_id"] = np.concatenate([text.target_ids for text in texts])
    width = rows["states"].shape[-1] if metadata.tier == "hidden" else None
    table = _table(texts, columns, schema(metadata, width))
    if classes is not None:
        table = table.replace_schema_metadata(classes_metadata(classes))
    with pq.ParquetWriter(
        path,
        table.schema,
        compression="zstd",
        compression_level=COMPRESSION,
        use_dictionary=False,
        column_encoding=_encodings(table.schema),
        write_statistics=False,
        write_page_checksum=True,
        data_page_size=16 * GROUP_BYTES,  # a page a group
    ) as writer:
        for first, last in _row_groups(texts, table.nbytes / len(table)):
            writer.write_table(table.slice(first, last - first))


def _encodings(columns: pa.Schema) -> dict[str, str]:
    """Parquet's encoding of each column: what compresses to the least.

    Of numbers, low bytes are apart from high ones: half the size after compression.
    """
    lists = (pa.ListType, pa.FixedSizeListType)
    paths = [
        f"{field.name}.list.element" if isinstance(field.type, lists) else field.name
        for field in columns
    ]
    encodings = dict.fromkeys(paths, "BYTE_STREAM_SPLIT")
    return encodings | {"example_id": "DELTA_BYTE_ARRAY"}


def _row_groups(texts: Sequence[Text], token_bytes: float) -> list[tuple[int, int]]:
    """Ranges of tokens: whole texts, of `GROUP_BYTES` or little more."""
    ends = list(accumulate(text.target_count for text in texts))
    bounds = [0]
    for end in ends:
        if (end - bounds[-1]) * token_bytes >= GROUP_BYTES or end == ends[-1]:
            bounds.append(end)
    return list(pairwise(bounds))


def _table(texts: Sequence[Text], columns: Rows, wanted: pa.Schema) -> pa.Table:
    lengths = [text.target_count for text in texts]
    names = pa.array([text.example_id for text in texts], pa.string())
    arrays = {"example_id": names.take(pa.array(np.repeat(np.arange(len(texts)), lengths)))}
    for field in wanted:
        if field.name != "example_id":
            arrays[field.name] = _array(field, columns)
    return pa.Table.from_arrays([arrays[name] for name in wanted.names], schema=wanted)


def _array(field: pa.Field, columns: Rows) -> pa.Array:
    """A column; Arrow raises ValueError for a number that its type cannot hold."""
    values, kind = columns[field.name], field.type
    if isinstance(kind, pa.FixedSizeListType):
        flat = pa.array(values.reshape(-1), kind.value_type)
        return pa.FixedSizeListArray.from_arrays(flat, type=kind)
    if isinstance(kind, pa.ListType):
        flat = pa.array(values, kind.value_type)
        ends = columns["distinct"].cumsum()
        return pa.ListArray.from_arrays(pa.array([0, *ends], pa.int32()), flat, type=kind)
    return pa.array(values, kind)


def check_finite(captured: Sequence[CapturedBatch], teacher: str) -> None:
    """Raises ValueError, naming the teacher, where its log-probability of a token is NaN."""
    for batch in captured:
        batch.wait()
        is_nan = np.isnan(np.concatenate([chunk["target"].numpy() for chunk in batch.chunks]))
        if is_nan.any():
            ends = np.cumsum([text.target_count for text in batch.texts])
            text = batch.texts[int(np.searchsorted(ends, is_nan.argmax(), side="right"))]
            raise ValueError(
                f"teacher {teacher}: its log-probabilities are not numbers (NaN) at {is_nan.sum()} "
                f"of {len(is_nan)} tokens, first in example {text.example_id}; if it was trained "
                "here, train it with a lower training.learning_rate; if it is used as it is, look "
                "at its weights, or read it with training.precision = 'float32'"
            )


def _joined(captured: Sequence[CapturedBatch]) -> Rows:
    for batch in captured:
        batch.wait()
    chunks = [chunk for batch in captured for chunk in batch.chunks]
    return {name: np.concatenate([chunk[name].numpy() for chunk in chunks]) for name in chunks[0]}


def _top_k(rows: Rows, vocabulary: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    steps = quantize(rows["log_probs"])
    if steps.max() >= MOST_STEPS:
        raise ValueError(
            f"a log-probability of {rows['log_probs'].min():.0f} is too low for a cache of this "
            "tier; set teacher_cache.tier = 'hidden', or a smaller teacher_cache.k"
        )
    classes = frequency_classes(rows["ids"].ravel(), vocabulary)
    columns = {
        "log_prob": rows["target"],
        "rank": rows["rank"],
        "rest_log_prob": rows["rest"].astype(np.float16),
        "top_positions": positions(vocabulary_order(classes))[rows["ids"]],
        "log_prob_drops": np.diff(steps, axis=-1, prepend=0),
    }
    return columns, classes


def _sampled(rows: Rows, vocabulary: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    was_drawn = rows["counts"] > 0
    ids = rows["ids"][was_drawn]
    classes = frequency_classes(ids, vocabulary)
    columns = {
        "log_prob": rows["target"],
        "distinct": was_drawn.sum(axis=-1),
        "sampled_positions": positions(vocabulary_order(classes))[ids],
        "counts": rows["counts"][was_drawn],
    }
    return columns, classes


def _hidden(rows: Rows, _: int) -> tuple[dict[str, np.ndarray], None]:
    if not np.isfinite(rows["states"]).all():
        raise ValueError(
            "the teacher's hidden states do not fit half precision; set teacher_cache.tier = "
            "'top_k'"
        )
    columns = {
        "log_prob": rows["target"],
        "top_ids": rows["top_ids"],
        "hidden_state": rows["states"],
    }
    return columns, None


_ENCODERS = {"top_k": _top_k, "sampled": _sampled, "hidden": _hidden}
