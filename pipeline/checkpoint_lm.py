"""A checkpoint as lm-evaluation-harness sees it: its HFLM, writing with our own generator."""

from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.settings.writing import Sampling
from pipeline.texts import Text
from pipeline.writing import sampler, write

LIKELIHOOD_BATCH = 32


class CheckpointLM(HFLM):
    """Likelihoods as HFLM computes them; text from `pipeline.writing`, equal when greedy."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, seed: int
    ) -> None:
        # a ready-made model runs at batch size 1 unless it is told here
        super().__init__(pretrained=model, tokenizer=tokenizer, batch_size=LIKELIHOOD_BATCH)
        self.seed = seed
        self.written: dict[str, Text] = {}  # by prompt: lengths and endings, for the measures

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """A response to each request, cut at its stop strings."""
        responses: dict[int, str] = {}
        by_options: dict[str, list[int]] = {}
        for at, request in enumerate(requests):
            by_options.setdefault(repr(sorted(request.args[1].items())), []).append(at)
        for places in by_options.values():
            options = requests[places[0]].args[1]
            texts = [self._ask(requests[at].args[0]) for at in places]
            for at, text in zip(places, self._write(texts, options), strict=True):
                self.written[requests[at].args[0]] = text
                decoded = self.tokenizer.decode(text.response_ids, skip_special_tokens=True)
                responses[at] = _cut(decoded, options["until"])
        return [responses[at] for at in range(len(requests))]

    def _ask(self, prompt: str) -> Text:
        ids = self.tok_encode(prompt)
        return Text(example_id=prompt, prompt_ids=ids or [self.prefix_token_id], response_ids=[])

    @torch.no_grad()
    def _write(self, texts: list[Text], options: dict[str, Any]) -> list[Text]:
        sampled = options.get("do_sample", False)
        sampling = Sampling(
            temperature=options.get("temperature", 1.0) if sampled else 0,
            top_p=options.get("top_p", 1.0),
            top_k=options.get("top_k", 0),
        )
        length = options.get("max_gen_toks", self.max_gen_toks)
        return write(texts, [self.model], sampler(sampling), length, self.seed, "student")


def _cut(text: str, stops: list[str]) -> str:
    places = [text.find(stop) for stop in stops if stop and stop in text]
    return text[: min(places)] if places else text
