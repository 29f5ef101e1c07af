"""A checkpoint that writes responses as lm-eval's tasks ask for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from lm_eval.models.utils import normalize_gen_kwargs
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.data.batch import Text
from pipeline.generation import generate, sampler
from pipeline.runtime.progress import ProgressLog
from pipeline.settings.base import Settings
from pipeline.settings.generation import Sampling

TEXTS = 1024  # responses that are searched for stop strings together
FIRST_TOKENS = 32  # of a greedy response, before it is searched for stop strings


class Decoding(Settings):
    """How a response is written, and where it is cut."""

    sampling: Sampling
    stops: list[str]
    length: int  # in tokens, at most
    seed: int

    @classmethod
    def of(cls, asked: Mapping[str, object], length: int) -> "Decoding":
        """The options of a task in lm-eval's words; `length` where they name none."""
        options = {**asked, **normalize_gen_kwargs({**asked}, length)}
        is_sampled = options["do_sample"]
        sampling = {
            "temperature": options.get("temperature", 1.0) if is_sampled else 0,
            "top_p": options.get("top_p") or 1.0,
            "top_k": options.get("top_k") or 0,
        }
        rest = {"stops": options["until"], "length": options["max_gen_toks"]}
        return cls.model_validate({"sampling": sampling, "seed": asked.get("seed", 0), **rest})

    def cut(self, text: str) -> str:
        """A text up to the first of the stop strings in it."""
        ends = [text.find(stop) for stop in self.stops if stop and stop in text]
        return text[: min(ends)] if ends else text


@dataclass(frozen=True)
class Writer:
    """A model and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    def decode(self, text: Text) -> str:
        """The response of a text in words."""
        ids = text.response_ids[:-1] if text.ended else text.response_ids
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def responses(
        self, texts: Sequence[Text], decoding: Decoding, progress: ProgressLog
    ) -> list[Text]:
        """The texts with responses; those with prompts of like length are written together."""
        responses: dict[int, Text] = {}
        for indices in chunks_by_length([text.prompt_ids for text in texts]):
            chunk = [texts[index] for index in indices]
            responses |= zip(indices, self._written(chunk, decoding, progress), strict=True)
        return [responses[index] for index in range(len(texts))]

    def _written(self, texts: list[Text], decoding: Decoding, progress: ProgressLog) -> list[Text]:
        """Responses; greedy ones with stop strings are continued until one of these occurs.

        Random draws depend on the position in the response, so a sampled one is generated at once.
        """
        if decoding.sampling.temperature or not any(decoding.stops):
            return self._continued(texts, decoding, decoding.length, progress)
        length = min(FIRST_TOKENS, decoding.length)
        texts = self._continued(texts, decoding, length)
        while length < decoding.length:
            unfinished = [
                index
                for index, text in enumerate(texts)
                if not text.ended and decoding.cut(decoded := self.decode(text)) == decoded
            ]
            more = min(length, decoding.length - length)
            continued = self._continued([texts[index] for index in unfinished], decoding, more)
            for index, text in zip(unfinished, continued, strict=True):
                texts[index] = text
            length += more
        progress.step(len(texts), sum(len(text.response_ids) for text in texts))
        return texts

    @torch.no_grad()
    def _continued(
        self,
        texts: list[Text],
        decoding: Decoding,
        length: int,
        progress: ProgressLog | None = None,
    ) -> list[Text]:
        """The texts with up to `length` more tokens in their responses."""
        if not texts:
            return []
        prompts = [
            replace(text, prompt_ids=[*text.prompt_ids, *text.response_ids]) for text in texts
        ]
        choose, seed = sampler(decoding.sampling), decoding.seed
        continuations = generate(prompts, [self.model], choose, length, seed, "student", progress)
        return [
            replace(text, response_ids=[*text.response_ids, *more.response_ids], ended=more.ended)
            for text, more in zip(texts, continuations, strict=True)
        ]


def chunks_by_length(prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """The places of prompts whose responses are generated together: those of like length."""
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    return [order[first : first + TEXTS] for first in range(0, len(order), TEXTS)]
