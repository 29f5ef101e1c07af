"""The files of a teacher cache: plain Parquet, a row for each response token.

Every tier has the example's id, the response token and its log-probability; `schema` has all
columns. Tokens are stored as positions in an order of the vocabulary that each file has for itself,
frequent tokens first: small numbers. Log-probabilities of the top K are whole numbers of
`STEP_NATS`, each stored as the drop from the rank before: small numbers again. Both compress to a
fraction. docs/teacher_cache.md has the lines that turn them back with pandas.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from pipeline.artifacts import artifact
from pipeline.distributions.ranking import RANKED
from pipeline.settings.teacher import TierName
from pipeline.settings.training import Precision

FORMAT = 3  # of the files; another number is not read
HEAD = "head.safetensors"  # the teacher's lm_head, beside hidden states
FREQUENCY_CLASSES = b"frequency_classes"  # in a file's metadata: zstd, a byte for each token

STEP_NATS = 1 / 64  # between two stored log-probabilities: the error is at most half of it
SHORT_STEPS = 6 * 64  # from zero; further down a step is twice as long, as is its error
MOST_STEPS = 1 << 15  # decoded log-probabilities are whole numbers of two bytes

Rows = Mapping[str, np.ndarray]  # columns, decoded: an entry for each token
VocabularyOrder = Int[np.ndarray, " vocabulary"]


@dataclass(frozen=True)
class CacheMetadata:
    """How a cache was written: part of its manifest."""

    tier: TierName
    vocabulary: int
    shards: list[str]
    k: int | None = None  # of top_k: tokens in a support
    draws: int | None = None  # of sampled
    hidden_scale: float = 1.0  # of hidden, as the two that follow: see `pipeline.models.logits`
    logit_scale: float = 1.0
    softcap: float | None = None
    precision: Precision = "auto"  # of the teacher's forward pass
    format: int = FORMAT


def read_metadata(folder: Path) -> CacheMetadata:
    """How the cache in a folder was written. Raises ValueError for one of another format."""
    path = folder / artifact.MANIFEST
    manifest = artifact.read_json(path)
    names = [field.name for field in fields(CacheMetadata)]
    if missing := [name for name in names if name not in manifest]:
        raise ValueError(f"{path} lacks {missing}: delete {folder} and run again")
    metadata = CacheMetadata(**{name: manifest[name] for name in names})
    if metadata.format != FORMAT:
        raise ValueError(
            f"{path}: format = {metadata.format} of a cache, {FORMAT} is read here: delete "
            f"{folder} and run again"
        )
    return metadata


def ranked(metadata: CacheMetadata) -> int:
    """How many top ranks a cache holds: of K stored tokens, K - 1 are sure to be top-ranked."""
    known = metadata.vocabulary
    if metadata.k is not None and metadata.k < metadata.vocabulary:
        known = metadata.k - 1
    return min(RANKED, known)


def schema(metadata: CacheMetadata, width: int | None = None) -> pa.Schema:
    """The columns of a cache's files; `width` is that of hidden states."""
    token = pa.uint16() if metadata.vocabulary <= 1 << 16 else pa.uint32()
    columns = {
        "example_id": pa.string(),
        "token_id": token,  # the response token: the one that is to be predicted
        "log_prob": pa.float32(),  # of that token, in nats
    }
    match metadata.tier:
        case "top_k":
            assert metadata.k is not None
            columns |= {
                "rank": token,  # of the response token, from 0; K - 1: not among the top K
                "rest_log_prob": pa.float16(),  # of all tokens that are not listed
                "top_positions": _list(token, metadata.k - 1),  # of the most likely others
                "log_prob_drops": _list(pa.uint16(), metadata.k - 1),
            }
        case "sampled":
            columns |= {"sampled_positions": _list(token), "counts": _list(pa.uint16())}
        case "hidden":
            states = _list(pa.float16(), width or -1)
            columns |= {"top_ids": _list(token, ranked(metadata)), "hidden_state": states}
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns.items()])


def _list(kind: pa.DataType, length: int = -1) -> pa.DataType:
    # without nulls, Parquet decodes lists in half the time
    return pa.list_(pa.field("element", kind, nullable=False), length)


def quantize(log_probs: Float[np.ndarray, "*tokens"]) -> Int[np.ndarray, "*tokens"]:
    """Log-probabilities as whole numbers of steps below zero, to the nearest."""
    steps = log_probs * (-1 / STEP_NATS)
    longer = (steps + SHORT_STEPS) / 2  # the smaller one beyond the short steps
    return np.rint(np.minimum(steps, longer, out=steps), out=steps).astype(np.int64)


def dequantize(steps: Float[Tensor, "*tokens"]) -> Float[Tensor, "*tokens"]:
    """The log-probabilities of steps below zero."""
    return (steps + (steps - SHORT_STEPS).clamp(min=0)) * -STEP_NATS


def frequency_classes(
    ids: Int[np.ndarray, " ids"], vocabulary: int
) -> UInt8[np.ndarray, " vocabulary"]:
    """For each token, the number of binary digits of its count: an order that is small to store."""
    return np.frexp(np.bincount(ids, minlength=vocabulary))[1].astype(np.uint8)


def vocabulary_order(classes: UInt8[np.ndarray, " vocabulary"]) -> VocabularyOrder:
    """Token ids, those of the most frequent class first, each class in the order of the ids."""
    return np.argsort(-classes.astype(np.int16), kind="stable").astype(np.int32)


def positions(order: VocabularyOrder) -> VocabularyOrder:
    """For each token id, its position in the order."""
    by_token = np.empty_like(order)
    by_token[order] = np.arange(len(order), dtype=order.dtype)
    return by_token


def classes_metadata(classes: UInt8[np.ndarray, " vocabulary"]) -> dict[bytes, bytes]:
    """The metadata of a file whose tokens are in the order of these classes."""
    return {FREQUENCY_CLASSES: pa.compress(classes.tobytes(), codec="zstd", asbytes=True)}


def read_order(metadata: Mapping[bytes, bytes] | None, vocabulary: int) -> VocabularyOrder:
    """The order of the vocabulary in a file of this metadata: `order[position]` is a token id."""
    stored = (metadata or {})[FREQUENCY_CLASSES]
    classes = pa.decompress(stored, vocabulary, codec="zstd", asbytes=True)
    return vocabulary_order(np.frombuffer(classes, np.uint8))
