"""Keys and values of texts side by side, each text at places of its own.

A text fills its places from 0 on. What lies beyond the token that is being read is hidden from it,
so going back to an earlier token, or giving a slot to another text, needs no clearing.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

CacheTensor = Float[Tensor, "slots heads length size"]


class CachePositions(NamedTuple):
    """Where in the caches the tokens belong that are being read, and what they may attend to.

    `mask` is added to the scores of attention: 0, or minus infinity for what they may not see.
    """

    rows: Int[Tensor, "batch 1"]
    places: Int[Tensor, "batch new"]
    seen: int  # so many places of each text; 0: only the tokens that are being read
    mask: Float[Tensor, "#batch 1 new seen"]


def prefill_positions(
    rows: Int[Tensor, " begun"], width: int, dtype: torch.dtype
) -> CachePositions:
    """The first tokens of texts. Where one has fewer, what stands there is overwritten later."""
    places = torch.arange(width, device=rows.device)
    mask = _mask(places[None], width, dtype)
    return CachePositions(rows[:, None], places.expand(len(rows), -1), 0, mask)


def decode_positions(
    read: Int[Tensor, " slots"], new: int, seen: int, dtype: torch.dtype
) -> CachePositions:
    """The next tokens of all texts."""
    rows = torch.arange(len(read), device=read.device)[:, None]
    places = read[:, None] + torch.arange(new, device=read.device)
    return CachePositions(rows, places, seen, _mask(places, seen, dtype))


def _mask(
    places: Int[Tensor, "batch new"], seen: int, dtype: torch.dtype
) -> Float[Tensor, "batch 1 new seen"]:
    every = torch.arange(seen, device=places.device)
    hidden = (every > places[..., None])[:, None]
    return torch.zeros(hidden.shape, dtype=dtype, device=places.device).masked_fill_(
        hidden, -torch.inf
    )


def update_cache(
    cache: CacheTensor, new: Float[Tensor, "batch heads new size"], reading: CachePositions
) -> Float[Tensor, "batch heads visible size"]:
    """Puts keys or values in their places; gives all that the tokens may attend to."""
    new = new.to(cache.dtype)
    cache[reading.rows, :, reading.places] = new.transpose(1, 2)
    return cache[:, :, : reading.seen] if reading.seen else new
