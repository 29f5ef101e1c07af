"""The micro-batches of one rank: its share of texts that all ranks know.

The longest texts are dealt first, each to the rank with the fewest positions so far. Every rank has
as many micro-batches, since sharded models need all ranks for each pass: one that has fewer texts
reads the shortest of all again, with weight zero.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar, runtime_checkable

import torch

from pipeline.data.batch import Batch, Text, by_length, collate, cuts
from pipeline.runtime.costs import ModelCounter
from pipeline.runtime.ranks import Ranks


@runtime_checkable
class Weighted(Protocol):
    """What counts with a weight, fillers with none."""

    @property
    def weight(self) -> float:
        """1, or 0 for a filler."""
        ...


Item = TypeVar("Item", bound=Weighted)


@dataclass(frozen=True)
class SharedBatch:
    """A micro-batch of one rank."""

    batch: Batch
    places: Sequence[int]  # of its texts among those of all ranks, the shortest first
    weight: float  # 0 for a filler: what is computed on it counts for nothing


def shared_batches(
    texts: Sequence[Text], max_tokens: int, device: torch.device, ranks: Ranks
) -> Iterator[SharedBatch]:
    """The micro-batches of this rank's share; alone, those of `micro_batches`."""
    ordered = by_length(texts)
    places = shares([text.length for text in ordered], ranks.size)
    texts_of_ranks = [[ordered[place] for place in of_rank] for of_rank in places]
    cuts_of_ranks = [cuts(of_rank, max_tokens) for of_rank in texts_of_ranks]
    own, own_places = texts_of_ranks[ranks.rank], places[ranks.rank]
    for part in cuts_of_ranks[ranks.rank]:
        yield SharedBatch(collate(own[part], device), own_places[part], 1.0)
    missing = max(map(len, cuts_of_ranks)) - len(cuts_of_ranks[ranks.rank])
    for _ in range(missing):
        yield SharedBatch(collate(ordered[:1], device), [0], 0.0)


def shares(lengths: Sequence[int], size: int) -> list[list[int]]:
    """The places in ascending `lengths` of the texts that each of `size` ranks takes."""
    positions, places = [0] * size, [list[int]() for _ in range(size)]
    for place in reversed(range(len(lengths))):
        rank = positions.index(min(positions))
        positions[rank] += lengths[place]
        places[rank].insert(0, place)
    return places


def counted(batches: Iterable[Item], work: Sequence[ModelCounter]) -> Iterator[Item]:
    """The batches in turn; what models do on a filler meanwhile is left out of their counts."""
    for batch in batches:
        before = [replace(counter) for counter in work]
        yield batch
        if not batch.weight:
            for counter, saved in zip(work, before, strict=True):
                vars(counter).update(vars(saved))
