"""Several sources as one: training examples mixed by weight, held-out splits side by side.

No example is repeated: the mixture has as many as its scarcest source allows. A question that one
source holds out is trained on from none; conversations ask the same if they begin with the same
question.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain

from pipeline.data.examples import RawDataset, opening_key
from pipeline.data.splits import deduplicate, digest, shuffled_examples
from pipeline.data.stored_examples import StoredExamples, stored

HELD_OUT = ("validation", "test")
ALL = "data.examples.sources"


@dataclass(frozen=True)
class Part:
    """A source of a mixture, by its name, with what it has to offer."""

    name: str
    dataset: RawDataset
    has_topics: bool  # whether its examples name sources of their own

    def examples(self, split: str) -> StoredExamples:
        """A split, its examples named for this source."""
        return stored(
            replace(each, source=f"{self.name}/{each.source}" if self.has_topics else self.name)
            for each in self.dataset.splits[split]
        )


def mix(
    parts: Sequence[Part], weights: Mapping[str, float], seed: int, limit: int | None
) -> RawDataset:
    """The parts as one data set, of at most `limit` training examples where they have weights.

    Raises:
        ValueError: for a source that would give no example.
    """
    held_out = {part.name: {split: part.examples(split) for split in HELD_OUT} for part in parts}
    pools = {part.name: _not_held_out(part, held_out) for part in parts}
    if empty := [name for name, pool in pools.items() if not pool]:
        raise ValueError(
            f"{ALL}.{empty[0]}: each of its training examples asks what another source holds out; "
            "leave one of the two out"
        )
    counts = _counts({name: len(pool) for name, pool in pools.items()}, weights, limit)
    drawn = {name: pool[: counts[name]] for name, pool in pools.items()}
    splits = {
        "train": stored(chain(*drawn.values())),
        **{
            split: stored(chain(*(of_part[split] for of_part in held_out.values())))
            for split in HELD_OUT
        },
    }
    cards = {
        part.name: {
            **part.dataset.facts,
            "weight": weights.get(part.name),
            "held_out_elsewhere": len(part.dataset.splits["train"]) - len(pools[part.name]),
            "available": len(pools[part.name]),
            **{split: len(held_out[part.name][split]) for split in HELD_OUT},
            "train": counts[part.name],
            "share_of_train": round(counts[part.name] / len(splits["train"]), 4),
        }
        for part in parts
    }
    return RawDataset(
        {split: shuffled_examples(examples, f"{seed}") for split, examples in splits.items()},
        list(deduplicate(chain(*(part.dataset.plain for part in parts)), str)),
        {"about": f"a mixture of {len(parts)} sources", "sources": cards},
        [f"{part.name}: {line}" for part in parts for line in part.dataset.warnings],
    )


def _not_held_out(
    part: Part, held_out: Mapping[str, Mapping[str, StoredExamples]]
) -> StoredExamples:
    """The training examples of a part that begin with nothing that another one holds out."""
    asked = {
        digest(*opening_key(example))
        for name, splits in held_out.items()
        if name != part.name
        for examples in splits.values()
        for example in examples
    }
    train = part.examples("train")
    questions = (digest(*opening_key(example)) for example in train)
    return train.take(place for place, key in enumerate(questions) if key not in asked)


def _counts(
    sizes: Mapping[str, int], weights: Mapping[str, float], limit: int | None
) -> dict[str, int]:
    """How many training examples each source gives: all of them without weights."""
    if not weights:
        return dict(sizes)
    shares = {name: Fraction(weight) for name, weight in weights.items()}
    whole = sum(shares.values())
    total = min(size * whole / shares[name] for name, size in sizes.items())
    total = math.floor(total if limit is None else min(total, limit))
    exact = {name: total * shares[name] / whole for name in sizes}
    counts = {name: math.floor(count) for name, count in exact.items()}
    by_remainder = sorted(sizes, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    if empty := [name for name, count in counts.items() if not count]:
        raise ValueError(
            f"{ALL}.{empty[0]}: of the {total} training examples that the weights allow, none is "
            "of this source; raise its weight or data.train_limit, or give the scarcest source "
            f"({min(sizes, key=lambda name: sizes[name] / shares[name])}) more examples"
        )
    return counts
