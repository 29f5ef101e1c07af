"""Overlap of a task with the training split: questions, instructions, and 13-grams of words.

T. Brown et al., 2020, arXiv:2005.14165, appendix C, compare test sets with training text by
13-grams. Case and punctuation don't count, and a character of a script without spaces counts as a
word, since a whole clause of Chinese would be one otherwise. A conversation asks what its user says
in any turn, whatever its system prompt.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import regex

from pipeline.data.examples import Example, normalise, user_turns
from pipeline.data.scripts import SPACELESS
from pipeline.data.splits import overlap
from pipeline.runtime.progress import some_of

N = 13  # words of an n-gram
PART = regex.compile(rf"{SPACELESS}|[^{SPACELESS}]+", regex.V1)  # of a run of letters and digits


@dataclass(frozen=True)
class Contamination:
    """The ids of the items that share something with training, by what they share."""

    questions: tuple[str, ...]  # instruction and input
    instructions: tuple[str, ...]  # with whatever input
    ngrams: tuple[str, ...]

    def warnings(self, items: int) -> list[str]:
        """A sentence for each kind that occurs, naming some of the ids."""
        kinds = {
            "ask what training asks": self.questions,
            "have an instruction of the training set": self.instructions,
            f"share {N} words in a row with the training set": self.ngrams,
        }
        return [
            f"{len(ids)} of {items} items {fault}: {some_of(ids)}"
            for fault, ids in kinds.items()
            if ids
        ]


def contaminated_examples(
    ids: Sequence[str], examples: Sequence[Example], train: Sequence[Example]
) -> Contamination:
    """The overlap of instruction items with the training examples."""
    overlapping = set(overlap(examples, train).questions)
    turns = [user_turns(example)[-1] for example in examples]
    repeated = set(turns).intersection(turn for each in train for turn in user_turns(each))
    asked = {normalise(example.instruction) for example in examples}
    known = asked.intersection(normalise(example.instruction) for example in train)
    pairs = zip(ids, examples, strict=True)
    texts = [[example.instruction, example.input, *example.responses] for example in examples]
    return Contamination(
        questions=tuple(
            id for index, id in enumerate(ids) if index in overlapping or turns[index] in repeated
        ),
        instructions=tuple(id for id, item in pairs if normalise(item.instruction) in known),
        ngrams=contaminated_texts(ids, texts, train),
    )


def contaminated_texts(
    ids: Sequence[str], texts: Sequence[Sequence[str]], train: Sequence[Example]
) -> tuple[str, ...]:
    """The ids of the items one of whose texts shares an n-gram with training.

    The items' n-grams are kept, and training is read past them: it may be of any size.
    """
    asked = {ngram for parts in texts for part in parts for ngram in ngram_hashes(part)}
    known: set[int] = set()
    for example in train:
        for text in (example.instruction, example.input, *example.responses):
            known.update(asked.intersection(ngram_hashes(text)))
    return tuple(
        id
        for id, parts in zip(ids, texts, strict=True)
        if any(ngram in known for part in parts for ngram in ngram_hashes(part))
    )


def ngram_hashes(text: str) -> Iterable[int]:
    """A hash of each n-gram of words in the text."""
    runs = re.findall(r"\w+", normalise(text))
    words = [word for run in runs for word in ([run] if run.isascii() else PART.findall(run))]
    return (hash(tuple(words[start : start + N])) for start in range(len(words) - N + 1))
