"""Fair draws by seed, and examples that are alike: within a split, and across splits."""

import hashlib
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import groupby
from typing import TypeVar

from pipeline.data.examples import Example, dedup_key, normalise, opening_key, question_keys
from pipeline.data.stored_examples import StoredExamples
from pipeline.settings.data import Files, Hub

NEAR_IDENTICAL_PERCENT = 80  # of the distinct words of two texts together, those in both

Item = TypeVar("Item")


def shuffled(items: Iterable[Item], name: Callable[[Item], str], seed: str) -> list[Item]:
    """`items` in a fair order that depends on the seed and each item's name, and nothing else.

    So the order in which they were read is forgotten, and an item more leaves the others' order.
    """
    return sorted(items, key=lambda item: (_draw(seed, name(item)), name(item)))


def _draw(seed: str, name: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{name}".encode()).digest()


def first_shuffled(
    items: Iterable[Item], name: Callable[[Item], str], seed: str, count: int
) -> list[Item]:
    """The first of `items` in the order of `shuffled`, of which no more are kept."""
    return nsmallest(count, items, key=lambda item: (_draw(seed, name(item)), name(item)))


def shuffled_examples(examples: StoredExamples, seed: str) -> StoredExamples:
    """Examples in a fair order, whatever order they were read in."""
    draws = [
        _draw(seed, "\0".join([each.instruction, each.input, each.source, *each.responses]))
        for each in examples
    ]
    return examples.take(sorted(range(len(draws)), key=draws.__getitem__))


def deduplicate(items: Iterable[Item], key: Callable[[Item], Hashable]) -> Iterator[Item]:
    """`items` without those whose key was there before."""
    before: set[Hashable] = set()
    for item in items:
        if (mark := key(item)) not in before:
            before.add(mark)
            yield item


def digest(*parts: object) -> bytes:
    """A short name of some content: two that are alike are equal."""
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).digest()


def content_digest(example: Example) -> bytes:
    """The digest of all that two equal examples share."""
    text = (example.instruction, example.input, example.source, example.chat)
    return digest(*text, example.responses)


def held_out_count(size: float, examples: int) -> int:
    """How many of the examples a held-out split has; a size below 1 is a share of them."""
    return int(size) if size >= 1 else max(1, round(size * examples))


def held_out_counts(source: Files | Hub, examples: int) -> dict[str, int]:
    """How many examples of each split a source holds out from a number of examples."""
    sizes = {"validation": source.validation, "test": source.test}
    return {
        split: held_out_count(size, examples)
        for split, size in sizes.items()
        if not isinstance(size, str)
    }


def hold_out(
    train: Sequence[Example], counts: Mapping[str, int], seed: str
) -> dict[str, list[int]]:
    """Places in `train` of splits of `counts` examples, and of the rest as split train.

    They are drawn, and no question is in two of them. Conversations that begin with the same
    question stay together, whatever comes after its answer.

    Raises:
        ValueError: if nothing would be left in train, or copies of a question make the counts
            impossible.
    """
    _check_enough(train, counts)
    draws = _draws_of_groups(train, seed)
    left = sorted(range(len(draws)), key=draws.__getitem__)  # those of a group are neighbours
    held_out: dict[str, list[int]] = {}
    for split, count in sorted(counts.items()):
        held_out[split], left = _fill(groupby(left, draws.__getitem__), count)
        if len(held_out[split]) < count:
            raise ValueError(
                f"{split} can't have {count} examples: too many ask the same, or begin alike, "
                "and stay together; lower the count or name a file for this split"
            )
    return {"train": left, **held_out}


def _draws_of_groups(examples: Iterable[Example], seed: str) -> list[bytes]:
    """The draw of each example's group, the examples that begin alike: its least by question."""
    groups: list[bytes] = []
    least: dict[bytes, bytes] = {}
    for example in examples:
        question = dedup_key(example)
        draw = _draw(seed, "\0".join(question))
        group = digest(*(opening_key(example) if example.chat else question))
        groups.append(group)
        least[group] = min(draw, least.get(group, draw))
    return [least[group] for group in groups]


def hold_out_first(train: Sequence[Example], counts: Mapping[str, int]) -> dict[str, Sequence[int]]:
    """Places of the first examples of `train`: for validation, then for test, then the rest.

    What the splits share, such as a question asked twice, is counted in the data's card.

    Raises: ValueError if nothing would be left in train.
    """
    _check_enough(train, counts)
    validation = counts.get("validation", 0)
    held_out = validation + counts.get("test", 0)
    places = {
        "validation": range(validation),
        "test": range(validation, held_out),
        "train": range(held_out, len(train)),
    }
    return {split: places[split] for split in ("train", *counts)}


def _check_enough(train: Sequence[Example], counts: Mapping[str, int]) -> None:
    if sum(counts.values()) >= len(train):
        raise ValueError(
            f"{_listed(counts)} examples can't be drawn from {len(train)}, and leave some to train "
            "on; lower the counts or name files for these splits"
        )


def _fill(groups: Iterable[tuple[bytes, Iterable[int]]], count: int) -> tuple[list[int], list[int]]:
    taken: list[int] = []
    left: list[int] = []
    for _, places in groups:
        group = list(places)
        (taken if len(taken) + len(group) <= count else left).extend(group)
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

    # places of the examples that ask, with the same input, what training does; a conversation asks
    # as often as it is answered
    questions: list[int]
    instructions: int  # distinct ones of the split that training gives too, with whatever input


def overlap(held_out: Sequence[Example], train: Sequence[Example]) -> Overlap:
    """The overlap of `held_out` with `train`."""
    questions = [{digest(*key) for key in question_keys(example)} for example in held_out]
    instructions = {digest(normalise(example.instruction)) for example in held_out}
    # intersections with what is read one by one: of a large training set nothing is kept
    asked = (digest(*key) for example in train for key in question_keys(example))
    shared = set().union(*questions).intersection(asked)
    known = instructions.intersection(digest(normalise(each.instruction)) for each in train)
    return Overlap([index for index, keys in enumerate(questions) if keys & shared], len(known))


def check_no_leaks(splits: Mapping[str, Sequence[Example]]) -> None:
    """Raises ValueError if two splits share a question or, but for case and signs, a response."""
    home: dict[object, str] = {}
    for split, examples in splits.items():
        for example in examples:
            for mark in (dedup_key(example), *map(letters_only, example.responses)):
                if home.setdefault(mark, split) != split:
                    raise ValueError(f"{home[mark]} and {split} both hold {example!r:.200}")
