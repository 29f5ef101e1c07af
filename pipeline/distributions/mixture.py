"""Distributions of several teachers as one: on the union of their supports, then a weighted sum.

Each teacher keeps some tokens and a bucket for the others. On the union a token that a teacher kept
has the probability that it stored. One that only others kept lies in its bucket, and has an equal
share of it: what the bucket leaves to each of its tokens on average. The mixture's bucket has the
rest of all buckets. Its sum is one, and with dense distributions nothing is shared out.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pipeline.distributions.divergences import entropy
from pipeline.distributions.log_probs import LogProbs, PerToken, Support, TeacherSignal

Shares = Float[Tensor, "tokens teachers"]
Ids = Int[Tensor, "tokens k"]


def mixture(log_probs: Sequence[LogProbs], shares: Shares) -> LogProbs:
    """Log Σ_t w_t p_t, of distributions on one support."""
    weighted = [p + share[:, None] for p, share in zip(log_probs, shares.log().T, strict=True)]
    return torch.stack(weighted).logsumexp(0)


def confidence(log_probs: LogProbs, support: Support) -> PerToken:
    """The log-probability of the most likely token; a bucket is none."""
    tokens = log_probs if support.ids is None else log_probs[:, : support.ids.shape[-1]]
    return tokens.amax(-1)


def uncertainty(log_probs: LogProbs, support: Support, vocabulary: int) -> PerToken:
    """The entropy in nats, where each token in a bucket has an equal share of it."""
    kept = vocabulary if support.ids is None else support.ids.shape[-1]
    if kept == vocabulary:
        return entropy(log_probs)
    return entropy(log_probs) + log_probs[:, kept].exp() * math.log(vocabulary - kept)


def on_union(
    signals: Sequence[TeacherSignal], vocabulary: int
) -> tuple[Support, list[Float[Tensor, "tokens union"]]]:
    """The support of all signals together, the target first in it, and each of them there.

    A sparse one has as many tokens at each place as the supports have in all, and no more than the
    vocabulary; where they overlap, tokens that none of them kept take the room that is left.
    """
    first = signals[0].support
    if first.ids is None:
        return first, [signal.log_probs for signal in signals]
    ids = [
        first.next_ids[:, None],
        *(each.support.ids for each in signals if each.support.ids is not None),
    ]
    union = _union(torch.cat(ids, dim=-1), vocabulary)
    known = [_on(signal, union, vocabulary) for signal in signals]
    return Support(torch.zeros_like(first.target), union), known


def _union(ids: Ids, vocabulary: int) -> Int[Tensor, "tokens union"]:
    """The ids of each row, its first one first, each once; others fill the room of repeated ones.

    The first one is repeated in each support.
    """
    width = min(ids.shape[-1] - 1, vocabulary)
    others = torch.arange(min(2 * width, vocabulary), device=ids.device).expand(len(ids), -1)
    both = torch.cat([ids, others], dim=-1)
    order = both.argsort(dim=-1, stable=True)  # of equal ids, those of the supports come first
    ordered = both.gather(-1, order)
    repeated = torch.zeros_like(ordered, dtype=torch.bool)
    repeated[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    is_repeated = torch.zeros_like(repeated).scatter(-1, order, repeated)
    chosen = is_repeated.int().argsort(dim=-1, stable=True)[:, :width]
    return both.gather(-1, chosen)


def _on(
    signal: TeacherSignal, union: Int[Tensor, "tokens union"], vocabulary: int
) -> Float[Tensor, "tokens outcomes"]:
    """A distribution on a support that holds its own."""
    log_probs, ids = signal.log_probs, signal.support.ids
    assert ids is not None
    kept, size = ids.shape[-1], union.shape[-1]
    if kept == vocabulary:
        bucket, each = log_probs.new_full((len(ids), 1), -torch.inf), -torch.inf
    else:
        bucket = log_probs[:, kept:]
        each = bucket - torch.tensor(float(vocabulary - kept)).log()
    ordered, order = ids.sort(dim=-1)
    place = torch.searchsorted(ordered, union).clamp(max=kept - 1)
    is_kept = ordered.gather(-1, place) == union
    tokens = log_probs.gather(-1, order.gather(-1, place)).where(is_kept, each)
    if size == vocabulary:
        return tokens
    left = torch.tensor((vocabulary - size) / (vocabulary - kept)).log()
    return torch.cat([tokens, bucket + left], dim=-1)
