"""What a task shares with the training split: questions, instructions, and runs of words.

A run is of 13 words, as T. Brown et al., 2020, arXiv:2005.14165, appendix C, compare test sets with
training text, without regard to case and signs.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.data.examples import Example, normalise
from pipeline.data.splits import overlap

RUN = 13  # words
NAMED = 5  # ids in a warning


@dataclass(frozen=True)
class Shared:
    """Ids of the items that share something with training, by what it is."""

    questions: tuple[str, ...]  # instruction and input
    instructions: tuple[str, ...]  # with whatever input
    runs: tuple[str, ...]

    def warnings(self, items: int) -> list[str]:
        """A sentence for each kind that occurs, naming some of the ids."""
        kinds = {
            "ask what training asks": self.questions,
            "give an instruction of training": self.instructions,
            f"have {RUN} words in a row that are in training": self.runs,
        }
        return [
            f"{len(ids)} of {items} items {what}: {', '.join(ids[:NAMED])}"
            f"{', ...' if len(ids) > NAMED else ''}"
            for what, ids in kinds.items()
            if ids
        ]


def of_examples(
    ids: Sequence[str], examples: Sequence[Example], train: Sequence[Example]
) -> Shared:
    """What instruction items share with the examples of training."""
    told = {normalise(one.instruction) for one in train}
    questions = overlap(examples, train).questions
    texts = [[one.instruction, one.input, *one.responses] for one in examples]
    return Shared(
        tuple(ids[place] for place in questions),
        tuple(
            id for id, one in zip(ids, examples, strict=True) if normalise(one.instruction) in told
        ),
        of_texts(ids, texts, train),
    )


def of_texts(
    ids: Sequence[str], texts: Sequence[Sequence[str]], train: Sequence[Example]
) -> tuple[str, ...]:
    """Ids of the items one of whose texts has a run of words that is in training."""
    known: set[int] = set()
    for one in train:
        for text in (one.instruction, one.input, *one.responses):
            known.update(runs(text))
    pairs = zip(ids, texts, strict=True)
    return tuple(
        id for id, parts in pairs if any(run in known for part in parts for run in runs(part))
    )


def runs(text: str) -> Iterable[int]:
    """A number for each run of words in the text."""
    words = re.findall(r"\w+", normalise(text))
    return (hash(tuple(words[at : at + RUN])) for at in range(len(words) - RUN + 1))
