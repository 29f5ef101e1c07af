"""Fair draws by seed, and examples that are alike: within a split, and across splits."""

import hashlib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

from pipeline.data.examples import Example, dedup_key, normalise

NEAR_IDENTICAL_PERCENT = 80  # of the distinct words of two texts together, those in both

Item = TypeVar("Item")


def shuffled(items: Iterable[Item], name: Callable[[Item], str], seed: str) -> list[Item]:
    """`items` in a fair order that depends on the seed and each item's name, and nothing else.

    So the order in which they were read is forgotten, and an item more leaves the others' order.
    """
    return sorted(items, key=lambda item: (_draw(seed, name(item)), name(item)))


def _draw(seed: str, name: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode()).digest()


def shuffled_examples(examples: Iterable[Example], seed: str) -> list[Example]:
    """Examples in a fair order, whatever order they were read in."""
    return shuffled(examples, _content, seed)


def _content(example: Example) -> str:
    return "\0".join([example.instruction, example.input, example.source, *example.responses])


def deduplicate(items: Iterable[Item], key: Callable[[Item], Hashable]) -> list[Item]:
    """`items` without those whose key was there before."""
    first: dict[Hashable, Item] = {}
    for item in items:
        first.setdefault(key(item), item)
    return list(first.values())


def held_out_count(size: float, examples: int) -> int:
    """How many of the examples a held-out split has; a size below 1 is a share of them."""
    return int(size) if size >= 1 else max(1, round(size * examples))


def hold_out(
    train: Sequence[Example], counts: Mapping[str, int], seed: str
) -> dict[str, list[Example]]:
    """`train` and, drawn from it, splits of `counts` examples; no question is in two of them.

    Raises:
        ValueError: if nothing would be left in train, or copies of a question make the counts
            impossible.
    """
    _check_enough(train, counts)
    by_key = sorted(train, key=dedup_key)
    groups = shuffled(
        [list(group) for _, group in groupby(by_key, dedup_key)],
        lambda group: "\0".join(dedup_key(group[0])),
        seed,
    )
    held_out: dict[str, list[Example]] = {}
    for split, count in sorted(counts.items()):
        held_out[split], groups = _fill(groups, count)
        if len(held_out[split]) < count:
            raise ValueError(
                f"{split} can't have {count} examples: too many ask the same and stay together; "
                "lower the count or name a file for this split"
            )
    return {"train": [example for group in groups for example in group], **held_out}


def hold_out_first(train: Sequence[Example], counts: Mapping[str, int]) -> dict[str, list[Example]]:
    """`train`, and the first of it: for validation, those after them for test, as far as counted.

    What the splits share, such as a question asked twice, is counted in the data's card.

    Raises: ValueError if nothing would be left in train.
    """
    _check_enough(train, counts)
    validation, test = counts.get("validation", 0), counts.get("test", 0)
    parts = {
        "validation": train[:validation],
        "test": train[validation : validation + test],
        "train": train[validation + test :],
    }
    return {split: list(parts[split]) for split in ("train", *counts)}


def _check_enough(train: Sequence[Example], counts: Mapping[str, int]) -> None:
    if sum(counts.values()) >= len(train):
        raise ValueError(
            f"{_listed(counts)} examples can't be drawn from {len(train)}, and leave some to train "
            "on; lower the counts or name files for these splits"
        )


def _fill(groups: Sequence[list[Example]], count: int) -> tuple[list[Example], list[list[Example]]]:
    taken: list[Example] = []
    left = []
    for group in groups:
        if len(taken) + len(group) <= count:
            taken.extend(group)
        else:
            left.append(group)
    return taken, left


def _listed(counts: Mapping[str, int]) -> str:
    return " and ".join(f"{count} {split}" for split, count in sorted(counts.items()))


def letters_only(text: str) -> str:
    """`text` in lower case without digits, spaces and punctuation."""
    return re.sub(r"[^a-z]", "", text.lower())


def near_identical(texts: Sequence[str]) -> set[int]:
    """Indices of the texts that repeat an earlier one but for about one word in nine.

    Alike are two texts whose sets of words have a Jaccard similarity of at least
    `NEAR_IDENTICAL_PERCENT`. The search is exact: sets that alike share one of their few rarest
    words, so only texts which do are compared (prefix filtering: Chaudhuri, Ganti, Kaushik 2006,
    "A Primitive Operator for Similarity Joins in Data Cleaning").
    """
    bags = [frozenset(re.findall(r"[a-z]+", text.lower())) for text in texts]
    uses = Counter(word for bag in bags for word in bag)
    bags_of_word: defaultdict[str, list[frozenset[str]]] = defaultdict(list)
    repeated = set()
    for index, bag in enumerate(bags):
        needed = math.ceil(NEAR_IDENTICAL_PERCENT * len(bag) / 100)
        rarest = sorted(bag, key=lambda word: (uses[word], word))[: len(bag) - needed + 1]
        if any(_alike(bag, other) for word in rarest for other in bags_of_word[word]):
            repeated.add(index)
        else:
            for word in rarest:
                bags_of_word[word].append(bag)
    return repeated


def _alike(words: frozenset[str], other: frozenset[str]) -> bool:
    return 100 * len(words & other) >= NEAR_IDENTICAL_PERCENT * len(words | other)


@dataclass(frozen=True)
class Overlap:
    """The overlap of a held-out split with training, ignoring case and white space."""

    questions: list[int]  # places of the examples that ask, with the same input, what training does
    instructions: int  # distinct ones of the split that training gives too, with whatever input


def overlap(held_out: Sequence[Example], train: Sequence[Example]) -> Overlap:
    """The overlap of `held_out` with `train`."""
    keys = {dedup_key(example) for example in train}
    train_instructions = {instruction for instruction, _ in keys}
    return Overlap(
        [index for index, example in enumerate(held_out) if dedup_key(example) in keys],
        len({normalise(example.instruction) for example in held_out} & train_instructions),
    )


def check_no_leaks(splits: Mapping[str, Sequence[Example]]) -> None:
    """Raises ValueError if two splits share a question or, but for case and signs, a response."""
    home: dict[object, str] = {}
    for split, examples in splits.items():
        for example in examples:
            for mark in (dedup_key(example), *map(letters_only, example.responses)):
                if home.setdefault(mark, split) != split:
                    raise ValueError(f"{home[mark]} and {split} both hold {example!r:.200}")
