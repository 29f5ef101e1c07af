"""Whether the greedy texts that are generated here are those of the model's own `generate`."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel

from pipeline.data.batch import Text
from pipeline.generation import generate, sampler
from pipeline.models.forward_check import (
    NEW_TOKENS,
    TOLERANCE,
    Difference,
    Logits,
    errors_naming,
    forward_differences,
    forward_logits,
    logit_differences,
    probe_texts,
    refuse_differences,
)
from pipeline.settings.generation import Sampling


def check(model: PreTrainedModel, name: str, before: Sequence[Logits]) -> None:
    """Checks a model that was saved and loaded; `before` are its probes' logits until then.

    Raises:
        ValueError: naming the model, if its logits changed, or if its logits and texts here are not
            those of its own forward and `generate`.
    """
    with errors_naming(name, model):
        after = forward_logits(model, probe_texts(model))
        refuse_differences(model, logit_differences("saved and loaded", before, after))
        refuse_differences(model, differences(model))


def differences(model: PreTrainedModel) -> list[Difference]:
    """Differences of our logits and texts from the model's own forward and `generate`."""
    return [*forward_differences(model), *generation_differences(model)]


def generation_differences(model: PreTrainedModel) -> list[Difference]:
    """Our greedy texts against those of `generate`, alone and in a batch."""
    texts = probe_texts(model)
    expected = [_generated(model, text) for text in texts]
    greedy = sampler(Sampling(temperature=0))
    alone = [generate([text], [model], greedy, NEW_TOKENS, 0, "teacher")[0] for text in texts]
    together = generate(texts, [model], greedy, NEW_TOKENS, 0, "teacher")
    return _text_differences(model, "generating, alone", expected, alone) + _text_differences(
        model, "generating, in a batch", expected, together
    )


def _generated(model: PreTrainedModel, text: Text) -> list[int]:
    """Greedy text by `generate`, with the model's own end tokens and without its penalties."""
    ids, settings = torch.tensor([text.prompt_ids]), model.generation_config
    causal: Any = model  # transformers' own type of `generate` fits none of its classes
    ends = {"eos_token_id": settings.eos_token_id, "pad_token_id": settings.pad_token_id}
    model.generation_config = GenerationConfig(**ends)  # `generate` would add the model's own
    try:
        output = causal.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=NEW_TOKENS
        )
    finally:
        model.generation_config = settings
    return output[0, ids.shape[1] :].tolist()


def _text_differences(
    model: PreTrainedModel, what: str, expected: Sequence[Sequence[int]], texts: Sequence[Text]
) -> list[Difference]:
    """The worst divergence of two texts, where the model itself sees no tie."""
    shares = [
        _logit_gap(model, text, response)
        for text, response in zip(texts, expected, strict=True)
        if list(text.response_ids) != list(response)
    ]
    worst = max(shares, default=0.0)
    return [Difference(what, worst)] if worst > TOLERANCE else []


def _logit_gap(model: PreTrainedModel, text: Text, expected: Sequence[int]) -> float:
    """How far our token is below the largest logit where two texts diverge."""
    pairs = zip(text.response_ids, expected, strict=False)
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    if shared == min(len(text.response_ids), len(expected)):
        return 1.0  # one continues where the other ends
    before = Text("", text.prompt_ids, expected[: shared + 1])
    logits = forward_logits(model, [before])[0][-1]
    gap = logits.max() - logits[text.response_ids[shared]]
    return float(gap / logits.abs().max())
