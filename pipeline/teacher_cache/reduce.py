"""Reduces logits to what each tier stores, on the device of the model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.data.batch import Text
from pipeline.distributions import ranking
from pipeline.distributions.log_probs import target_log_prob
from pipeline.distributions.ranking import RANKED, RankedTokens, sort_by_rank
from pipeline.distributions.sampled_targets import sample_signal
from pipeline.runtime import seeding

# for each of the k largest: with fewer, more values pass the first test; with more, it takes longer
BLOCKS = 4
NO_VALUE = 0x7FFFFFFF << 32  # behind the key of every number; its column is the first

ReducedLogits = Mapping[str, Tensor]  # a row for each token
TopK = Callable[[Tensor, int], RankedTokens]


@dataclass(frozen=True)
class Chunk:
    """Some response tokens of a micro-batch."""

    states: Float[Tensor, "tokens width"]
    logits: Float[Tensor, "tokens vocabulary"]  # in float32; may be overwritten
    next_ids: Int[Tensor, " tokens"]
    uniforms: Float[Tensor, "tokens draws"] | None  # where the teacher is sampled from


def top_k_and_rest(chunk: Chunk, k: int, top_k: TopK) -> ReducedLogits:
    """The target, the k - 1 most likely other tokens by rank, and a bucket for the rest."""
    logits, next_ids = chunk.logits, chunk.next_ids[:, None]
    target = logits.gather(-1, next_ids)
    largest = top_k(logits.scatter_(-1, next_ids, -torch.inf), k)  # the last one leads the rest
    values, columns = largest.values[:, :-1], largest.columns[:, :-1]
    as_likely = (values == target) & (columns < next_ids)

    # one minus the sum of the listed ones would lose all digits where the rest is small
    rest = largest.values[:, -1:]
    if k < logits.shape[-1]:
        shares = logits.scatter_(-1, columns, -torch.inf).softmax(-1)
        rest = rest - shares.gather(-1, largest.columns[:, -1:]).log()
    total = torch.cat([target, values, rest], dim=-1).logsumexp(-1, keepdim=True)
    return {
        "target": (target - total)[:, 0],
        "rank": ((values > target) | as_likely).sum(-1),  # of the next token, from 0
        "ids": columns.int(),
        "log_probs": values - total,
        "rest": (rest - total)[:, 0],
    }


def sample_targets(chunk: Chunk, draws: int) -> ReducedLogits:
    """The tokens that come up when the teacher is sampled from, in any order, and how often."""
    assert chunk.uniforms is not None
    signal = sample_signal(chunk.logits, chunk.next_ids, draws, chunk.uniforms)
    ids = signal.support.ids
    assert ids is not None
    counts = (signal.log_probs[:, : ids.shape[-1]].exp() * draws).round().int()
    log_probs = chunk.logits.log_softmax(-1)
    return {
        "ids": ids.int(),
        "counts": counts,
        "target": target_log_prob(log_probs, chunk.next_ids),
    }


def hidden_states(chunk: Chunk) -> ReducedLogits:
    """The last hidden state in half precision, which has more digits than bfloat16.

    The top-ranked tokens are stored beside it: two that are nearly as likely change places when
    a state is rounded.
    """
    target = target_log_prob(chunk.logits, chunk.next_ids) - chunk.logits.logsumexp(-1)
    top_ids = ranking.top_tokens(chunk.logits, RANKED).int()
    return {"states": chunk.states.half(), "target": target, "top_ids": top_ids}


def uniform_numbers(texts: Sequence[Text], draws: int, name: str) -> Float[Tensor, "tokens draws"]:
    """Uniform numbers in [0, 1); those of a text depend on the name and its id alone."""
    of_texts = [
        seeding.uniform(f"{name}/{text.example_id}", text.target_count, draws) for text in texts
    ]
    return torch.from_numpy(np.concatenate(of_texts))


def uniforms_of_cache(
    texts: Sequence[Text], draws: int, seed: int
) -> Float[Tensor, "tokens draws"]:
    """The numbers by which the draws of a cache are made."""
    return uniform_numbers(texts, draws, f"cache/{seed}")


def top_k_on_gpu(values: Float[Tensor, "rows columns"], k: int) -> RankedTokens:
    """The k largest of each row by rank, by torch's own selection.

    Of equal ones the lowest columns come first; which of them are taken, where not all are among
    the k largest, is undefined.
    """
    return sort_by_rank(*values.topk(k, dim=-1))


def top_k_on_cpu(values: Float[Tensor, "rows columns"], k: int) -> RankedTokens:
    """The k largest of each row by rank; of equal ones the lowest columns, and those first.

    On a CPU torch's `topk` takes longer than the head and all sums over the vocabulary together.
    The k-th largest of the maxima of disjoint blocks is at most the k-th largest of all values:
    what is below it is out, and little more than k are left to choose from.
    """
    width, blocks = values.shape[-1], BLOCKS * k
    if width < 2 * blocks:
        all_columns = torch.arange(width).expand(len(values), -1)
        return sort_by_rank(values, all_columns, k)

    blockwise = values[:, : width // blocks * blocks].unflatten(-1, (-1, blocks))
    # NumPy sorts a few hundred numbers in less time than torch selects from them
    least = np.sort(blockwise.amax(-2).numpy(), axis=-1)[:, -k, None]
    columns = torch.from_numpy(_largest(values.numpy(), least, k))
    return RankedTokens(values.gather(-1, columns), columns)


def _largest(values: np.ndarray, least: np.ndarray, k: int) -> np.ndarray:
    """The columns of the k largest of each row, of those that reach its least, by rank."""
    flat = np.flatnonzero(values >= least)
    rows, columns = np.divmod(flat, values.shape[-1])
    counts = np.bincount(rows, minlength=len(values))
    places = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    bits = (values.ravel()[flat] + np.float32(0)).view(np.int32)  # there is no -0 in a sum with 0
    # as whole numbers they stand in the same order, here the greatest first
    ordered = ~(bits ^ ((bits >> 31) & 0x7FFFFFFF))
    width = max(k, int(counts.max()))
    keys = np.full(len(values) * width, NO_VALUE)
    keys[rows * width + places] = (ordered.astype(np.int64) << 32) | columns
    keys = keys.reshape(-1, width)
    keys.sort(axis=-1)
    return np.bitwise_and(keys[:, :k], 0xFFFFFFFF)
