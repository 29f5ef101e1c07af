"""Decoders by transformers' own forward, with sequences at positions of their own.

A family's code says by a function of two positions which of them a token attends to: causality, a
sliding window, chunks. Here that function is asked about each sequence's own positions, so the
sequences of a batch need not be equally long. Whether a model heeds these positions everywhere is
measured: one with recurrent states, ALiBi or positions of its own making is left to the fallback.
"""

import sys
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import Module
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    Cache,
    DynamicLayer,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from pipeline.generation.kv_cache import (
    CachePositions,
    decode_positions,
    prefill_positions,
    update_cache,
)
from pipeline.models.attention import attention_function
from pipeline.models.forward_check import TOLERANCE
from pipeline.models.language_model import autocast, lm_head
from pipeline.models.logits import probe_pass
from pipeline.models.measured import measured_once
from pipeline.models.positions import of_config

SLOTS: dict[str | None, str] = {"sdpa": "sdpa_slots", "eager": "eager_slots"}  # attention functions
LENGTH_DEPENDENT = {"dynamic", "longrope"}  # rotations that the longest text of a batch changes
PROBE_LENGTHS, PROBE_STEPS = (6, 3), (1, 2)  # tokens of the sequences, and of the steps after them
BF16_TOLERANCE = 0.05  # of the largest hidden state; a token at another position is far beyond it


class SlotCacheLayer(DynamicLayer):
    """A layer's KV cache with the interface of transformers."""

    def __init__(self, slots: int, length: int, dtype: torch.dtype):
        super().__init__()
        self.slots, self.length, self.dtype = slots, length, dtype
        self.entries: CachePositions | None = None  # of the tokens in the current forward pass

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: object, **__: object
    ) -> tuple[Tensor, Tensor]:
        """Stores new keys and values; gives all that there is to attend to."""
        assert self.entries is not None
        if self.keys is None or self.values is None:
            self.keys, self.values = map(self._empty, (key_states, value_states))
        return (
            update_cache(self.keys, key_states, self.entries),
            update_cache(self.values, value_states, self.entries),
        )

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """The positions that are attended to: how many, and the first."""
        assert self.entries is not None
        return self.entries.visible or query_length, 0

    def _empty(self, states: Tensor) -> Tensor:
        shape = (self.slots, states.shape[1], self.length, states.shape[3])
        return states.new_zeros(shape, dtype=self.dtype)


class SlotCache(Cache):
    """The layers' caches; a mask function is told the positions of the current tokens."""

    def get_query_offset(self, layer_idx: int = 0) -> Any:
        """Positions [batch, new], where transformers has one number for a batch."""
        layer = self.layers[layer_idx]
        assert isinstance(layer, SlotCacheLayer)
        assert layer.entries is not None
        return layer.entries.positions


def slot_mask(
    *,
    q_offset: Int[Tensor, "batch new"],
    kv_length: int,
    mask_function: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor],
    **_: object,
) -> Bool[Tensor, "batch 1 new visible"]:
    """What each token attends to, by the family's own function of positions."""
    rows = torch.arange(len(q_offset), device=q_offset.device)[:, None, None, None]
    keys = torch.arange(kv_length, device=q_offset.device)[None, None, None]
    mask = mask_function(rows, torch.zeros_like(rows), q_offset[:, None, :, None], keys)
    return mask.expand(len(q_offset), 1, q_offset.shape[1], kv_length)


def additive_slot_mask(
    *, dtype: torch.dtype, **tokens: Any
) -> Float[Tensor, "batch 1 new visible"]:
    """The same, to be added to attention scores."""
    mask = slot_mask(**tokens)
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, torch.finfo(dtype).min)


def eager_attention(module: Module, *tensors: Tensor | None, **options: Any) -> tuple[Tensor, ...]:
    """A family's own attention in plain steps, for one that caps its scores or has sinks."""
    return sys.modules[type(module).__module__].eager_attention_forward(module, *tensors, **options)


class TransformersDecoder:
    """A model with the KV caches of the sequences in its slots."""

    def __init__(self, model: PreTrainedModel, slots: int, length: int, dtype: torch.dtype):
        AttentionInterface.register(SLOTS["sdpa"], sdpa_attention_forward)
        AttentionInterface.register(SLOTS["eager"], eager_attention)
        AttentionMaskInterface.register(SLOTS["sdpa"], slot_mask)
        AttentionMaskInterface.register(SLOTS["eager"], additive_slot_mask)
        count = model.config.num_hidden_layers
        self.model = model
        self.attention = SLOTS[model.config._attn_implementation]
        self.layers = [SlotCacheLayer(slots, length, dtype) for _ in range(count)]
        self.cache = SlotCache([*self.layers])

    def prefill(self, rows: Int[Tensor, " new_rows"], ids: Int[Tensor, "new_rows width"]) -> None:
        """Fills the caches with the first tokens of sequences; no logits are computed."""
        with autocast(ids.device, "auto"):
            self.hidden(ids, prefill_positions(rows, ids.shape[1]))

    def decode(
        self, ids: Int[Tensor, "slots new"], cached: Int[Tensor, " slots"], visible: int
    ) -> Float[Tensor, "slots new vocabulary"]:
        """The logits after each of the next tokens of all sequences."""
        entries = decode_positions(cached, ids.shape[1], visible)
        with autocast(ids.device, "auto"):
            return lm_head(self.model, self.hidden(ids, entries))

    def select(self, rows: Int[Tensor, " selected"]) -> None:
        """Continues with these slots alone."""
        for layer in self.layers:
            layer.slots = len(rows)
            if layer.keys is not None and layer.values is not None:
                layer.keys, layer.values = layer.keys[rows], layer.values[rows]

    def hidden(
        self, ids: Int[Tensor, "batch new"], entries: CachePositions
    ) -> Float[Tensor, "batch new width"]:
        """The hidden states of tokens, whose keys and values join the caches."""
        for layer in self.layers:
            layer.entries = entries
        positions, most = entries.positions, of_config(self.model.config)
        if most is not None:
            # a draft beyond the end of a text may exceed the model's last position; it is discarded
            positions = positions.clamp(max=most - 1)
        with attention_function(self.model, self.attention):
            body = self.model.base_model(
                input_ids=ids, position_ids=positions, past_key_values=self.cache, use_cache=True
            )
        return body.last_hidden_state


def is_supported(model: PreTrainedModel) -> bool:
    """Whether a model decodes sequences at different positions as it would decode each alone."""
    return kv_numbers(model) > 0


def kv_numbers(model: PreTrainedModel) -> int:
    """The numbers that a token adds to the KV caches; 0 for a model that needs the fallback.

    Measured by a few tokens at the first call; copies of the model share the result.
    """
    return measured_once(model, "kv_numbers", _measure_kv_numbers)


def _measure_kv_numbers(model: PreTrainedModel) -> int:
    settable = model.config._attn_implementation in SLOTS and model._can_set_attn_implementation()
    if not settable or not LENGTH_DEPENDENT.isdisjoint(rope_types(model.config)):
        return 0
    mixed = any(weight.dtype == torch.bfloat16 for weight in model.parameters())
    length, dtype = max(PROBE_LENGTHS) + sum(PROBE_STEPS), torch.bfloat16 if mixed else model.dtype
    try:
        decoder = TransformersDecoder(model, len(PROBE_LENGTHS), length, dtype)
        with probe_pass(model):
            error = _ragged_error(decoder, length)
    except Exception:  # whatever a family's code raises: it takes no such arguments
        return 0
    if not error <= (BF16_TOLERANCE if mixed else TOLERANCE):
        return 0
    caches = [cache for layer in decoder.layers for cache in (layer.keys, layer.values)]
    return sum(cache.shape[1] * cache.shape[3] for cache in caches if cache is not None)


def rope_types(config: PreTrainedConfig) -> set[str]:
    """The kinds of rotary positions that a model has, in any of its layers."""
    parameters = getattr(config, "rope_parameters", None) or {}
    layers = [parameters, *(value for value in parameters.values() if isinstance(value, dict))]
    return {layer["rope_type"] for layer in layers if "rope_type" in layer}


def _ragged_error(decoder: TransformersDecoder, length: int) -> float:
    """How far hidden states at different positions are from those of the plain forward pass.

    As a share of the largest. Sequences are first read to the same length, the shorter one with
    other tokens behind its own, which must leave no trace.
    """
    model, device = decoder.model, decoder.model.device
    ids = torch.arange(len(PROBE_LENGTHS) * length, device=device) % model.config.vocab_size
    ids = ids.view(-1, length)
    expected = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    cached = torch.tensor(PROBE_LENGTHS, device=device)
    width = max(PROBE_LENGTHS)
    before = torch.arange(width, device=device) < cached[:, None]
    rows = torch.arange(len(cached), device=device)
    start = prefill_positions(rows, width)
    decoder.hidden(ids[:, :width].where(before, 0), start)
    errors = []
    for new in PROBE_STEPS:
        entries = decode_positions(cached, new, length)
        actual = decoder.hidden(ids.gather(1, entries.positions), entries)
        errors.append((actual - expected[entries.rows, entries.positions]).abs().max())
        cached = cached + new
    return float(torch.stack(errors).max() / expected.abs().max())
