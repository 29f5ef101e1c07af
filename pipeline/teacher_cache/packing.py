"""What a top K is stored as: whole numbers that are small.

Sets of token ids, a row for each place in a text: in increasing order a row's gaps are small
numbers, and smaller still where frequent tokens come first. So the vocabulary of a shard is put in
an order of its own, by the octave of how often a token is in its sets; within an octave the order
is that of the ids, for it must be stored.

Log-probabilities are steps from zero. Those of unlikely tokens are twice as long: their error
counts by their probability.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int, Shaped, UInt8
from torch import Tensor

CODEC = pa.Codec("zstd", compression_level=9)
SIZE_BYTES = 4  # before what is compressed: of what it came from
STEP = 1 / 64  # nats between two stored log-probabilities: the error is of half a step at most
SHORT_STEPS = 6 * 64  # from zero; further down each is of two of them

Ids = Shaped[np.ndarray, "tokens k"]
Order = Int[np.ndarray, " vocabulary"]  # token ids, the most frequent first
Octaves = UInt8[np.ndarray, " vocabulary"]


def compressed(frames: Sequence[bytes]) -> bytes:
    """All frames, each with statistics of its own."""
    size = sum(len(frame) for frame in frames).to_bytes(SIZE_BYTES, "little")
    return b"".join([size, *(CODEC.compress(frame, asbytes=True) for frame in frames if frame)])


def undone(content: pa.Buffer) -> UInt8[np.ndarray, " bytes"]:
    """The frames that were compressed, one after the other."""
    size = int.from_bytes(content[:SIZE_BYTES].to_pybytes(), "little")
    return np.frombuffer(CODEC.decompress(content[SIZE_BYTES:], size), np.uint8)


def octaves(ids: Shaped[np.ndarray, " ids"], vocabulary: int) -> Octaves:
    """For each token, how many binary digits the number of its occurrences has."""
    counts = np.bincount(ids, minlength=vocabulary)
    return np.frexp(counts)[1].astype(np.uint8)


def order(octave: Octaves) -> Order:
    """The tokens of the highest octave first, each octave in the order of the ids."""
    return np.argsort(-octave.astype(np.int16), kind="stable").astype(np.int32)


def positions(order: Order) -> Order:
    """For each token, its place in the order."""
    places = np.empty_like(order)
    places[order] = np.arange(len(order), dtype=order.dtype)
    return places


def gaps(sorted_places: Ids) -> Ids:
    """How many places are left out before each of a row, which increases."""
    return np.diff(sorted_places, axis=-1, prepend=-1) - 1


def from_gaps(gaps: Ids) -> Ids:
    """The rows that these are the gaps of."""
    return np.cumsum(gaps.astype(np.int32) + 1, axis=-1, dtype=np.int32) - 1


def steps(log_probs: Float[np.ndarray, "*tokens"]) -> Float[np.ndarray, "*tokens"]:
    """Log-probabilities as whole numbers, the nearest ones."""
    exact = log_probs / STEP
    return np.rint(np.where(exact < -SHORT_STEPS, (exact - SHORT_STEPS) / 2, exact))


def log_probs(steps: Float[Tensor, "*tokens"]) -> Float[Tensor, "*tokens"]:
    """What was rounded to these."""
    return (steps + (steps + SHORT_STEPS).clamp(max=0)) * STEP
