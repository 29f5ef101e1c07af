"""Decoders by transformers' own forward, with sequences at positions of their own.

These families take a mask over all positions, position ids and a cache as arguments, so the
sequences of a batch need not be equally long. What other families do with these arguments is not
known here: sliding windows and recurrent states would go wrong silently, and are left to the
fallback.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache, DynamicLayer, PreTrainedModel

from pipeline.generation.kv_cache import (
    CachePositions,
    decode_positions,
    prefill_positions,
    update_cache,
)
from pipeline.models.language_model import autocast, lm_head

FAMILIES = ("gpt2", "opt", "gpt_neox")


def is_supported(model: PreTrainedModel) -> bool:
    """Whether a model is of a family that was tested here."""
    return model.config.model_type in FAMILIES


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
            heads, size = key_states.shape[1], key_states.shape[3]
            shape = (self.slots, heads, self.length, size)
            self.keys, self.values = (key_states.new_zeros(shape, dtype=self.dtype) for _ in "kv")
        return (
            update_cache(self.keys, key_states, self.entries),
            update_cache(self.values, value_states, self.entries),
        )


class TransformersDecoder:
    """A model with the KV caches of the sequences in its slots."""

    def __init__(self, model: PreTrainedModel, slots: int, length: int, dtype: torch.dtype):
        count = model.config.num_hidden_layers
        self.model, self.dtype = model, dtype
        self.layers = [SlotCacheLayer(slots, length, dtype) for _ in range(count)]
        self.cache = Cache(layers=[*self.layers])

    def prefill(self, rows: Int[Tensor, " new_rows"], ids: Int[Tensor, "new_rows width"]) -> None:
        """Fills the caches with the first tokens of sequences; no logits are computed."""
        with autocast(ids.device, "auto"):
            self._hidden(ids, prefill_positions(rows, ids.shape[1], self.dtype))

    def decode(
        self, ids: Int[Tensor, "slots new"], cached: Int[Tensor, " slots"], visible: int
    ) -> Float[Tensor, "slots new vocabulary"]:
        """The logits after each of the next tokens of all sequences."""
        entries = decode_positions(cached, ids.shape[1], visible, self.dtype)
        with autocast(ids.device, "auto"):
            return lm_head(self.model, self._hidden(ids, entries))

    def select(self, rows: Int[Tensor, " selected"]) -> None:
        """Continues with these slots alone."""
        for layer in self.layers:
            layer.slots = len(rows)
            if layer.keys is not None and layer.values is not None:
                layer.keys, layer.values = layer.keys[rows], layer.values[rows]

    def _hidden(
        self, ids: Int[Tensor, "batch new"], entries: CachePositions
    ) -> Float[Tensor, "batch new width"]:
        for layer in self.layers:
            layer.entries = entries
        # a draft beyond the end of a text may exceed the model's last position; it is discarded
        last = self.model.config.max_position_embeddings - 1
        body = self.model.base_model(
            input_ids=ids,
            attention_mask=entries.mask.expand(len(ids), -1, -1, -1),
            position_ids=entries.positions.clamp(max=last),
            past_key_values=self.cache,
            use_cache=True,
        )
        return body.last_hidden_state
