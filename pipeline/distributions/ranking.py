"""Ranks of tokens by their logits, in one order for the whole project.

Ranks are read off logits: log-probabilities have fewer digits where logits lie near zero, and
stored ones are rounded. Of equal logits the token with the lowest id comes first.
"""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

RANKED = 5  # ranks that evaluations compare, and that caches keep


@dataclass(frozen=True)
class RankedTokens:
    """The largest values of each row in the order of their ranks, and the columns they are in."""

    values: Float[Tensor, "rows k"]
    columns: Int[Tensor, "rows k"]


def sort_by_rank(
    values: Float[Tensor, "rows k"], columns: Int[Tensor, "rows k"], count: int | None = None
) -> RankedTokens:
    """Values and their columns by rank, the first `count` of them; None: all."""
    by_column = columns.argsort(dim=-1)
    values, columns = values.gather(-1, by_column), columns.gather(-1, by_column)
    ordered, order = values.sort(dim=-1, descending=True, stable=True)
    return RankedTokens(ordered[:, :count], columns.gather(-1, order)[:, :count])


def top_tokens(
    logits: Float[Tensor, "tokens vocabulary"], count: int
) -> Int[Tensor, "tokens ranked"]:
    """The ids of the `count` most likely tokens by rank, or of the whole vocabulary if smaller."""
    size = logits.shape[-1]
    if count >= size:
        return logits.sort(dim=-1, descending=True, stable=True).indices
    largest = logits.topk(count + 1, dim=-1)
    ids = sort_by_rank(largest.values[:, :count], largest.indices[:, :count]).columns
    # where the next one is as likely as the last, `topk` takes any of them
    tied = largest.values[:, count - 1] == largest.values[:, count]
    if tied.any():
        ids[tied] = logits[tied].sort(dim=-1, descending=True, stable=True).indices[:, :count]
    return ids
