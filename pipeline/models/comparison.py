"""A prepared model beside its own forward: what is read and written here is what it says itself.

Some families scale, cap or divide their logits behind the head, keep states that a batch may
disturb, or have layers that a saved configuration doesn't describe. Instead of trusting a list of
such families, every prepared model is tried on a few tokens, alone and in a padded batch.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from pipeline.data.batch import Text, collate
from pipeline.generation import generate, sampler
from pipeline.models.language_model import response_logits
from pipeline.settings.generation import Sampling

PROMPTS = (9, 5, 2)  # tokens of the texts that a model is tried on
NEW = 6  # tokens of each response
TOLERANCE = 1e-3  # of the largest logit: float32 sums in another order stay far below it

Logits = Float[Tensor, "tokens vocabulary"]


@dataclass(frozen=True)
class Difference:
    """How far off a model is when it is read or written, as a share of its largest logit."""

    what: str
    share: float

    def __str__(self) -> str:
        return f"{self.what}: off by {self.share:.2g} of the largest logit"


def probes(model: PreTrainedModel, barred: Collection[int] = ()) -> list[Text]:
    """Random texts of unlike lengths, the same for the same vocabulary, without some tokens."""
    rng = np.random.default_rng(0)
    allowed = [id for id in range(model.config.vocab_size) if id not in barred]
    drawn = [rng.choice(allowed, length + NEW).tolist() for length in PROMPTS]
    return [
        Text(f"probe {at}", ids[:-NEW], ids[-NEW:], author="teacher")
        for at, ids in enumerate(drawn)
    ]


@torch.no_grad()
def own_logits(model: PreTrainedModel, texts: Sequence[Text]) -> list[Logits]:
    """Logits for each response by the model's own forward, one text at a time, without a cache."""
    found = []
    for text in texts:
        ids = torch.tensor([[*text.prompt_ids, *text.response_ids[:-1]]])
        logits = model(input_ids=ids, use_cache=False).logits
        found.append(logits[0, len(text.prompt_ids) - 1 :].float())
    return found


def differences(model: PreTrainedModel) -> list[Difference]:
    """Where our reading and writing leave what the model's own forward and `generate` say."""
    return [*reading_differences(model), *writing_differences(model)]


@torch.no_grad()
def reading_differences(model: PreTrainedModel) -> list[Difference]:
    """Our logits against those of `forward`, alone and in a batch padded at the right."""
    texts, device = probes(model), torch.device("cpu")
    expected = own_logits(model, texts)
    alone = [response_logits(model, collate([text], device)) for text in texts]
    together = response_logits(model, collate(texts, device)).split(NEW)
    return beyond("reading, alone", expected, alone) + beyond(
        "reading, in a padded batch", expected, together
    )


def writing_differences(model: PreTrainedModel) -> list[Difference]:
    """Our greedy texts against those of `generate`, alone and side by side."""
    texts = probes(model)
    expected = [_generated(model, text) for text in texts]
    choose = sampler(Sampling(temperature=0))
    alone = [generate([text], [model], choose, NEW, 0, "teacher")[0] for text in texts]
    together = generate(texts, [model], choose, NEW, 0, "teacher")
    return _other_texts(model, "writing, alone", expected, alone) + _other_texts(
        model, "writing, side by side", expected, together
    )


def _generated(model: PreTrainedModel, text: Text) -> list[int]:
    """Greedy text by `generate`, ended by whatever ends one of the model's own."""
    ids, own = torch.tensor([text.prompt_ids]), model.generation_config
    plain = GenerationConfig(eos_token_id=own.eos_token_id, pad_token_id=own.pad_token_id)
    model.generation_config = plain  # no penalties: `generate` adds the model's own to any others
    try:
        written = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=NEW
        )
    finally:
        model.generation_config = own
    return written[0, ids.shape[1] :].tolist()


def beyond(what: str, expected: Sequence[Logits], found: Sequence[Logits]) -> list[Difference]:
    """The largest difference, where it is beyond rounding."""
    pairs = list(zip(expected, found, strict=True))
    off = max(float((one - other).abs().max()) for one, other in pairs)
    share = off / max(float(one.abs().max()) for one in expected)
    return [] if share <= TOLERANCE else [Difference(what, share)]  # a NaN is beyond it, too


def _other_texts(
    model: PreTrainedModel, what: str, expected: Sequence[Sequence[int]], written: Sequence[Text]
) -> list[Difference]:
    """Texts that part where the model itself sees no tie."""
    shares = [
        _lost(model, text, own)
        for text, own in zip(written, expected, strict=True)
        if list(text.response_ids) != list(own)
    ]
    worst = max(shares, default=0.0)
    return [Difference(what, worst)] if worst > TOLERANCE else []


def _lost(model: PreTrainedModel, text: Text, own: Sequence[int]) -> float:
    """By how much the token where two texts part is less likely than the likeliest."""
    if len(text.response_ids) != len(own) and all(
        one == other for one, other in zip(text.response_ids, own, strict=False)
    ):
        return 1.0  # one goes on where the other ends
    at = next(
        at
        for at, (one, other) in enumerate(zip(text.response_ids, own, strict=False))
        if one != other
    )
    before = Text("", text.prompt_ids, [*own[:at], own[at]])
    logits = own_logits(model, [before])[0][-1]
    return float((logits.max() - logits[text.response_ids[at]]) / logits.abs().max())


def check(model: PreTrainedModel, name: str, before: Sequence[Logits]) -> None:
    """Tries a model that was saved and read again; `before` are its probes' logits until then.

    Raises:
        ValueError: naming the model, if its logits changed, or if it isn't read or written here as
            by its own forward.
    """
    with explained(name, model):
        after = own_logits(model, probes(model))
        refuse(model, beyond("saved and read again", before, after))
        refuse(model, differences(model))


@contextmanager
def explained(name: str, model: PreTrainedModel) -> Iterator[None]:
    """What a family's code raises, which may be anything, as a ValueError that names the model."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    except Exception as error:
        kind, reason = type(model).__name__, f"{type(error).__name__}: {error}"
        raise ValueError(f"{name}: {kind} can't be used here ({reason})") from error


def refuse(model: PreTrainedModel, found: Sequence[Difference]) -> None:
    """Raises ValueError if anything differs."""
    if found:
        raise ValueError(
            f"{type(model).__name__} ({model.config.model_type}) can't be used here, it differs "
            f"from its own forward ({'; '.join(map(str, found))}); docs/families.md lists families "
            "that can"
        )
