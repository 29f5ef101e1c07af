"""Generation for any family: left-padded prompts in lockstep, by transformers' forward alone.

For families that nothing faster is known to be right for. Finished sequences stay in the batch
until half of it has finished.
"""

import inspect
from collections.abc import Sequence
from typing import Protocol

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from pipeline.generation.sampling import Logits, RememberingSampler, TokenSampler, memory_size
from pipeline.generation.slots import Prompt, Response, Slots
from pipeline.models.language_model import autocast, lm_head

KV_CACHE, RECURRENT_CACHE = "past_key_values", "cache_params"
SHRINK_BELOW = 0.5  # finished sequences leave the batch when at most this share is still active


class ReorderableCache(Protocol):
    """A cache of transformers, with keys and values or with recurrent states."""

    def reorder_cache(self, beam_idx: Int[Tensor, " selected"]) -> None:
        """Keeps these sequences, in this order."""
        ...


class LeftPaddedDecoder:
    """A model and its cache, part of the way through a batch of left-padded sequences."""

    def __init__(
        self,
        model: PreTrainedModel,
        prompts: Int[Tensor, "batch time"],
        attention: Int[Tensor, "batch time"],
    ):
        self.model = model
        self.cache_argument = _cache_argument(model)
        self.cache: ReorderableCache | None = (
            None  # the family makes its own when it reads the prompts
        )
        self.attention = attention
        self.logits = self._forward(prompts, (attention.cumsum(-1) - 1).clamp(min=0))

    def advance(self, tokens: Int[Tensor, " batch"]) -> None:
        """Reads the next token of each sequence."""
        self.attention = torch.cat([self.attention, torch.ones_like(tokens)[:, None]], dim=-1)
        self.logits = self._forward(tokens[:, None], self.attention.sum(-1, keepdim=True) - 1)

    def select(self, rows: Int[Tensor, " selected"]) -> None:
        """Continues with these sequences alone."""
        assert self.cache is not None
        self.cache.reorder_cache(rows)  # batch_select_indices skips recurrent states
        self.attention = self.attention[rows]
        self.logits = self.logits[rows]

    def _forward(
        self, ids: Int[Tensor, "batch new"], positions: Int[Tensor, "batch new"]
    ) -> Logits:
        # Mamba's layers would apply the mask of all tokens to the new one
        masked = self.cache is None or self.cache_argument == KV_CACHE
        with autocast(self.model.device, "auto"):
            body = self.model.base_model(
                input_ids=ids,
                attention_mask=self.attention if masked else None,
                position_ids=positions,
                use_cache=True,
                **{self.cache_argument: self.cache},
            )
            self.cache = body.get(self.cache_argument)
            if self.cache is None:
                kind = type(self.model).__name__
                raise ValueError(f"{kind} can't generate here: its forward returns no cache")
            return lm_head(self.model, body.last_hidden_state[:, -1])


def _cache_argument(model: PreTrainedModel) -> str:
    """The forward's argument for the cache: Mamba and its relatives have a name of their own."""
    arguments = inspect.signature(model.base_model.forward).parameters
    return RECURRENT_CACHE if RECURRENT_CACHE in arguments else KV_CACHE


def generate_left_padded(
    prompts: Sequence[Prompt],
    models: Sequence[PreTrainedModel],
    token_sampler: TokenSampler | RememberingSampler,
    max_new_tokens: int,
    end_ids: Sequence[int],
) -> list[Response]:
    """A response to each prompt. All are in memory at once."""
    device = models[0].device
    ids, attention = left_pad([prompt.prompt_ids for prompt in prompts], device)
    decoders = [LeftPaddedDecoder(model, ids, attention) for model in models]
    slots = Slots.empty(len(prompts), max_new_tokens, device, memory_size(token_sampler))
    rows = torch.arange(len(prompts), device=device)  # index of the prompt in each slot
    slots.assign(rows, prompts)

    responses: dict[int, Response] = {}
    while True:
        logits = [decoder.logits for decoder in decoders]
        slots.append(slots.sample(token_sampler, logits), slots.active, end_ids)
        active = int(slots.active.sum())
        if active <= SHRINK_BELOW * slots.count:
            finished, remaining = (~slots.active).nonzero()[:, 0], slots.active.nonzero()[:, 0]
            responses |= zip(rows[finished].tolist(), slots.responses(finished), strict=True)
            slots, rows = slots.select(remaining), rows[remaining]
            for decoder in decoders:
                decoder.select(remaining)
        if not active:
            return [responses[index] for index in range(len(prompts))]
        for decoder in decoders:
            decoder.advance(slots.last_token)


def left_pad(
    prompts: Sequence[Sequence[int]], device: torch.device
) -> tuple[Int[Tensor, "batch time"], Int[Tensor, "batch time"]]:
    """Token ids padded at the left, and their attention mask."""
    rows = [torch.tensor(prompt, dtype=torch.long) for prompt in prompts]
    ids, attention = (
        pad_sequence(values, batch_first=True, padding_side="left").to(device)
        for values in (rows, [torch.ones_like(row) for row in rows])
    )
    return ids, attention
