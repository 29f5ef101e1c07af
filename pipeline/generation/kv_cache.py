"""Keys and values of the sequences of a batch, each at positions of its own.

A sequence fills its slot from position 0 on. Positions beyond the current token are masked, so
going back to an earlier token, or giving a slot to another sequence, needs no clearing.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

CacheTensor = Float[Tensor, "slots heads length size"]


class CachePositions(NamedTuple):
    """Positions of the current tokens in the KV caches, and how much of these they attend to."""

    rows: Int[Tensor, "batch 1"]
    positions: Int[Tensor, "batch new"]
    visible: int  # length of the cache that is attended to; 0: to the current tokens alone


def prefill_positions(rows: Int[Tensor, " new_rows"], width: int) -> CachePositions:
    """The first tokens of sequences. Padding of a shorter one is overwritten later."""
    positions = torch.arange(width, device=rows.device)
    return CachePositions(rows[:, None], positions.expand(len(rows), -1), 0)


def decode_positions(cached: Int[Tensor, " slots"], new: int, visible: int) -> CachePositions:
    """The next tokens of all sequences."""
    rows = torch.arange(len(cached), device=cached.device)[:, None]
    positions = cached[:, None] + torch.arange(new, device=cached.device)
    return CachePositions(rows, positions, visible)


def causal_mask(
    positions: Int[Tensor, "batch new"], visible: int, dtype: torch.dtype
) -> Float[Tensor, "batch 1 new visible"]:
    """What is added to attention scores: 0, or minus infinity for a later position."""
    keys = torch.arange(visible, device=positions.device)
    masked = (keys > positions[..., None])[:, None]
    return torch.zeros(masked.shape, dtype=dtype, device=positions.device).masked_fill_(
        masked, -torch.inf
    )


def update_cache(
    cache: CacheTensor, new: Float[Tensor, "batch heads new size"], entries: CachePositions
) -> Float[Tensor, "batch heads visible size"]:
    """Stores new keys or values; gives all that the current tokens attend to."""
    new = new.to(cache.dtype)
    cache[entries.rows, :, entries.positions] = new.transpose(1, 2)
    return cache[:, :, : entries.visible] if entries.visible else new
