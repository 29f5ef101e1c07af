"""Whether the logits that are computed here are those of the model's own forward.

Some families scale, cap or divide their logits behind the head, keep states that padding may
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
from transformers import PreTrainedModel

from pipeline.data.batch import Text, collate
from pipeline.models.language_model import response_logits

PROMPT_LENGTHS = (9, 5, 2)  # tokens of the prompts that a model is tried on
NEW_TOKENS = 6  # of each response
TOLERANCE = 1e-3  # of the largest logit: float32 sums in another order stay far below it

Logits = Float[Tensor, "tokens vocabulary"]


@dataclass(frozen=True)
class Difference:
    """How far a model's output here is from its own, as a share of its largest value."""

    what: str
    share: float

    def __str__(self) -> str:
        return f"{self.what}: off by {self.share:.2g} of the largest value"


def probe_texts(model: PreTrainedModel, excluded: Collection[int] = ()) -> list[Text]:
    """Random texts of different lengths without some tokens; a function of the vocabulary."""
    rng = np.random.default_rng(0)
    allowed = [id for id in range(model.config.vocab_size) if id not in excluded]
    sequences = [rng.choice(allowed, length + NEW_TOKENS).tolist() for length in PROMPT_LENGTHS]
    return [
        Text(f"probe {index}", ids[:-NEW_TOKENS], ids[-NEW_TOKENS:], author="teacher")
        for index, ids in enumerate(sequences)
    ]


@torch.no_grad()
def forward_logits(model: PreTrainedModel, texts: Sequence[Text]) -> list[Logits]:
    """Logits of each response by the model's own forward, one text at a time, without a cache."""
    logits_of_texts = []
    for text in texts:
        ids = torch.tensor([[*text.prompt_ids, *text.response_ids[:-1]]])
        logits = model(input_ids=ids, use_cache=False).logits
        logits_of_texts.append(logits[0, len(text.prompt_ids) - 1 :].float())
    return logits_of_texts


@torch.no_grad()
def forward_differences(model: PreTrainedModel) -> list[Difference]:
    """Our logits against those of `forward`, alone and in a batch padded at the right."""
    texts, device = probe_texts(model), torch.device("cpu")
    expected = forward_logits(model, texts)
    alone = [response_logits(model, collate([text], device)) for text in texts]
    together = response_logits(model, collate(texts, device)).split(NEW_TOKENS)
    return logit_differences("logits, alone", expected, alone) + logit_differences(
        "logits, in a padded batch", expected, together
    )


def logit_differences(
    what: str, expected: Sequence[Logits], actual: Sequence[Logits]
) -> list[Difference]:
    """The largest difference, where it is beyond rounding."""
    pairs = list(zip(expected, actual, strict=True))
    largest = max(float((first - second).abs().max()) for first, second in pairs)
    share = largest / max(float(logits.abs().max()) for logits in expected)
    return [] if share <= TOLERANCE else [Difference(what, share)]  # a NaN is beyond it, too


@contextmanager
def errors_naming(name: str, model: PreTrainedModel) -> Iterator[None]:
    """Turns any exception of a family's code into a ValueError that names the model."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    except Exception as error:
        kind, reason = type(model).__name__, f"{type(error).__name__}: {error}"
        raise ValueError(f"{name}: {kind} can't be used here ({reason})") from error


def refuse_differences(model: PreTrainedModel, differences: Sequence[Difference]) -> None:
    """Raises ValueError if there is any difference."""
    if differences:
        raise ValueError(
            f"{type(model).__name__} ({model.config.model_type}) can't be used here, it differs "
            f"from its own forward ({'; '.join(map(str, differences))}); docs/families.md lists "
            "families that can"
        )
