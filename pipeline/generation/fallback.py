"""The plain loop: texts that begin together, padded at the left, by transformers' forward alone.

For families that nothing faster is known to be right for. A text that has ended keeps its place
until half of them have.
"""

import inspect
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from transformers import Cache, PreTrainedModel

from pipeline.generation.sampling import Logits, TokenSampler
from pipeline.generation.slots import Prompt, Response, Slots
from pipeline.models.language_model import autocast, lm_head

KEYS_AND_VALUES, STATES = "past_key_values", "cache_params"
SHRINK_BELOW = 0.5  # the ended leave the batch when no more than this share is still written


class LeftPaddedDecoder:
    """A model and its KV cache, part way through a batch of left-padded texts."""

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Int[Tensor, "batch time"],
        attention: Int[Tensor, "batch time"],
    ):
        self.model = model
        self.cache_name = _cache_name(model)
        self.cache: Cache | None = None  # the family makes its own when it reads the prompts
        self.attention = attention
        self.logits = self._read(prompts, (attention.cumsum(-1) - 1).clamp(min=0))

    def advance(self, tokens: Int[Tensor, " batch"]) -> None:
        """Reads one more token of each text."""
        self.attention = torch.cat([self.attention, torch.ones_like(tokens)[:, None]], dim=-1)
        self.logits = self._read(tokens[:, None], self.attention.sum(-1, keepdim=True) - 1)

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Goes on with these texts alone."""
        assert self.cache is not None
        self.cache.reorder_cache(rows)  # batch_select_indices knows no recurrent states
        self.attention = self.attention[rows]
        self.logits = self.logits[rows]

    def _read(self, ids: Int[Tensor, "batch new"], positions: Int[Tensor, "batch new"]) -> Logits:
        # Mamba's layers would apply the mask of all tokens to the new one
        masked = self.cache is None or self.cache_name == KEYS_AND_VALUES
        with autocast(self.model.device, "auto"):
            body = self.model.base_model(
                input_ids=ids,
                attention_mask=self.attention if masked else None,
                position_ids=positions,
                use_cache=True,
                **{self.cache_name: self.cache},
            )
            self.cache = body.get(self.cache_name)
            if self.cache is None:
                kind = type(self.model).__name__
                raise ValueError(f"{kind} can't write here: its forward hands on no state")
            return lm_head(self.model, body.last_hidden_state[:, -1])


def _cache_name(model: PreTrainedModel) -> str:
    """The argument that takes the cache: Mamba and its like have a name of their own for it."""
    known = inspect.signature(model.base_model.forward).parameters
    return STATES if STATES in known else KEYS_AND_VALUES


def generate_left_padded(
    asked: Sequence[Prompt],
    models: Sequence[PreTrainedModel],
    choose: TokenSampler,
    time: int,
    end_ids: Sequence[int],
) -> list[Response]:
    """A response to each prompt. All are in memory at once."""
    device = models[0].device
    prompts, attention = left_pad([one.prompt_ids for one in asked], device)
    readers = [LeftPaddedDecoder(model, prompts, attention) for model in models]
    slots = Slots.empty(len(asked), time, device)
    rows = torch.arange(len(asked), device=device)  # the texts that the slots hold
    slots.begin(rows, asked)

    found: dict[int, Response] = {}
    while True:
        choice = choose([one.logits for one in readers], slots.position, slots.uniform())
        slots.take(choice, slots.writing, end_ids)
        left = int(slots.writing.sum())
        if left <= SHRINK_BELOW * slots.count:
            gone, kept = (~slots.writing).nonzero()[:, 0], slots.writing.nonzero()[:, 0]
            found |= zip(rows[gone].tolist(), slots.responses(gone), strict=True)
            slots, rows = slots.kept(kept), rows[kept]
            for reader in readers:
                reader.keep(kept)
        if not left:
            return [found[at] for at in range(len(asked))]
        for reader in readers:
            reader.advance(slots.last)


def left_pad(
    prompts: Sequence[Sequence[int]], device: torch.device
) -> tuple[Int[Tensor, "batch time"], Int[Tensor, "batch time"]]:
    """Token ids and what of them is no padding."""
    width = max(len(prompt) for prompt in prompts)
    ids = np.zeros((len(prompts), width), dtype=np.int64)
    attention = np.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = prompt
        attention[row, width - len(prompt) :] = 1
    return torch.from_numpy(ids).to(device), torch.from_numpy(attention).to(device)
