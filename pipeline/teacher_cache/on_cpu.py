"""What a top K keeps, in less time on a CPU: what `kept.likeliest` says, to rounding.

Torch's `topk` takes longer there than the head and all sums over the vocabulary together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.signal import of_target
from pipeline.teacher_cache.kept import Chunk, Kept

# for each of the k largest: with fewer, more values pass the first test; with more, it takes longer
BLOCKS = 4
LEAST_REST = 1e-30  # relative to the likeliest token: below, single precision loses digits


@dataclass(frozen=True)
class Top:
    """The largest values of each row, in some order."""

    values: Float[Tensor, "rows k"]
    columns: Int[Tensor, "rows k"]


def top(values: Float[Tensor, "rows columns"], k: int) -> Top:
    """The k largest of each row.

    The k-th largest of the maxima of disjoint blocks is at most the k-th largest of all values:
    what is below it is out, and little more than k are left to choose from.
    """
    width, blocks = values.shape[-1], BLOCKS * k
    if width < 2 * blocks:
        return Top(*values.topk(k, dim=-1, sorted=False))

    blockwise = values[:, : width // blocks * blocks].unflatten(-1, (-1, blocks))
    # NumPy sorts a few hundred numbers in less time than torch selects from them
    least = np.sort(blockwise.amax(-2).numpy(), axis=-1)[:, -k, None]
    columns = torch.from_numpy(_largest(values.numpy(), least, k))
    return Top(values.gather(-1, columns), columns)


def _largest(values: np.ndarray, least: np.ndarray, k: int) -> np.ndarray:
    """The columns of the k largest of each row, of those that reach its least."""
    rows, columns = np.divmod(np.flatnonzero(values >= least), values.shape[-1])
    counts = np.bincount(rows, minlength=len(values))
    places = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    bits = values[rows, columns].view(np.int32)
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # as whole numbers they stand in the same order
    keys = np.full((len(values), counts.max()), np.iinfo(np.int64).min)
    keys[rows, places] = (ordered.astype(np.int64) << 32) | columns
    keys.sort(axis=-1)
    return keys[:, -k:] & 0xFFFFFFFF


def likeliest(chunk: Chunk, k: int, temperatures: Sequence[float]) -> Kept:
    """The next token, the k - 1 likeliest others, the rest together, and sums over all tokens."""
    logits, next_ids = chunk.logits, chunk.next_ids[:, None]
    logits -= logits.amax(-1, keepdim=True)
    shares = logits.exp()  # of the likeliest token
    total = shares.sum(-1)
    log_total = total.log()
    normalisers = [(logits / one).exp_().sum(-1).log() - log_total / one for one in temperatures]
    kept = {
        "entropy": log_total - torch.linalg.vecdot(shares, logits) / total,
        "log_normalisers": torch.stack(normalisers, dim=-1) if normalisers else logits[:, :0],
        "target": of_target(logits, chunk.next_ids) - log_total,
    }

    others = top(logits.scatter_(-1, next_ids, -torch.inf), k - 1)
    rest = shares.scatter_(-1, next_ids, 0).scatter_(-1, others.columns, 0).sum(-1)
    other = rest.log()
    if rest.min() < LEAST_REST:
        other = logits.scatter(-1, others.columns, -torch.inf).logsumexp(-1)
    return kept | {
        "ids": others.columns.int(),
        "log_probs": others.values - log_total[:, None],
        "other": other - log_total,
    }
