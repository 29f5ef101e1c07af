"""Prompts that show more than the student sees: the response itself, an example, a right rollout.

The responses stay as they are, so that a teacher's distributions on such texts are those of the
same tokens, one by one, that the student's are of. What a template says is tokenized piece by
piece: the ids of prompts and responses are those that training has.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from string import Formatter

import numpy as np

from pipeline.data.batch import Batch, Text, collate
from pipeline.data.encoding import Encoder
from pipeline.methods.ranges import Shown

NO_END = -1  # stands for any token but those that end a response


@dataclass(frozen=True)
class PrivilegedPrompts:
    """The prompts of a template, with a response to the prompt in it or that of an example."""

    template: str  # of {prompt}, {example_prompt} and {example_response}
    shows: Shown
    train_set: Sequence[Text]
    encoder: Encoder
    ends: Collection[int]  # tokens that end a response: they are left out of what is shown
    seed: int  # of the draw of demonstrations

    def batch(self, batch: Batch) -> Batch:
        """The same texts, text by text, behind privileged prompts."""
        return collate([self.text(text) for text in batch.texts], batch.input_ids.device)

    def text(self, text: Text) -> Text:
        """A text behind its privileged prompt, or its own where there is no solution to show.

        Its targets stay what they are.
        """
        if self.shows == "solution" and text.solution is None:
            return text
        own, example = self._after_prefix(text.prompt_ids), self._shown(text)
        shown = example.response_ids
        known = {
            "prompt": own,
            "example_prompt": self._after_prefix(example.prompt_ids),
            "example_response": shown[:-1] if shown[-1] in self.ends else shown,
        }
        ids = list(text.prompt_ids[: len(text.prompt_ids) - len(own)])
        moved = 0
        for literal, placeholder in self._pieces:
            ids += literal
            if placeholder == "prompt":
                moved = len(ids) + len(own) - len(text.prompt_ids)
            ids += known.get(placeholder, ())

        earlier = tuple((first + moved, end + moved) for first, end in text.earlier)
        return replace(text, prompt_ids=ids, earlier=earlier)

    def example(self, example_id: str) -> Text:
        """The training text that is shown: that of the prompt, or another one drawn for it."""
        place, count = self._places[example_id], len(self.train_set)
        if self.shows == "reference":
            return self.train_set[place]
        if count == 1:
            raise ValueError(
                "shows = 'demonstration': the train set has one example, and none to show beside "
                "it; allowed: 'reference'"
            )
        others = int(np.random.default_rng([self.seed, place]).integers(count - 1))
        return self.train_set[others + (others >= place)]

    def _shown(self, text: Text) -> Text:
        if text.solution is not None and self.shows == "solution":
            return replace(text, response_ids=text.solution)
        return self.example(text.example_id)

    def longest(self, new_tokens: int) -> Text:
        """The training text that takes most positions, with its response or `new_tokens`."""
        solution = [NO_END] * new_tokens  # the longest
        return max(
            (self.text(replace(text, solution=solution)) for text in self.train_set),
            key=lambda text: len(text.prompt_ids) + max(len(text.response_ids), new_tokens),
        )

    @cached_property
    def _places(self) -> dict[str, int]:
        return {text.example_id: place for place, text in enumerate(self.train_set)}

    @cached_property
    def _pieces(self) -> list[tuple[list[int], str]]:
        """What the template says, as ids, each piece with the placeholder behind it."""
        pieces = [(text, name or "") for text, name, *_ in Formatter().parse(self.template)]
        ids = self.encoder.texts([text for text, _ in pieces])
        return list(zip(ids, (name for _, name in pieces), strict=True))

    def _after_prefix(self, prompt_ids: Sequence[int]) -> Sequence[int]:
        """A prompt without what begins every text, which stands before all of them once."""
        prefix = self.encoder.prefix
        begins = list(prompt_ids[: len(prefix)]) == prefix
        return prompt_ids[len(prefix) :] if begins else prompt_ids
