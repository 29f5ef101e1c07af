"""Models whose own forward reads texts side by side, each at its own place.

They take a mask over all places, positions and a cache as arguments, so the texts of a batch need
not be of one age. What other families do with these is not known here: sliding windows and
recurrent states would go wrong without a word, and are left to the plain loop.
"""

from typing import Any

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
    """Whether a model is of a family that was tried."""
    return model.config.model_type in FAMILIES


class Layer(DynamicLayer):
    """One layer's keys and values, as transformers' models fill and read them."""

    def __init__(self, slots: int, length: int, dtype: torch.dtype):
        super().__init__()
        self.slots, self.length, self.dtype = slots, length, dtype
        self.reading: CachePositions | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Stores what is new and gives all that there is to attend to."""
        assert self.reading is not None
        if self.keys is None or self.values is None:
            heads, size = key_states.shape[1], key_states.shape[3]
            shape = (self.slots, heads, self.length, size)
            self.keys, self.values = (key_states.new_zeros(shape, dtype=self.dtype) for _ in "kv")
        return update_cache(self.keys, key_states, self.reading), update_cache(
            self.values, value_states, self.reading
        )


class TransformersDecoder:
    """A model, and the keys and values of the texts that it is part way through."""

    def __init__(self, model: PreTrainedModel, slots: int, length: int, dtype: torch.dtype):
        count = model.config.num_hidden_layers
        self.model, self.dtype = model, dtype
        self.layers = [Layer(slots, length, dtype) for _ in range(count)]
        self.cache = Cache(layers=self.layers)

    def begin(self, rows: Int[Tensor, " begun"], ids: Int[Tensor, "begun width"]) -> None:
        """Reads the first tokens of texts into their slots."""
        with autocast(ids.device, "auto"):
            self._hidden(ids, prefill_positions(rows, ids.shape[1], self.dtype))

    def read(
        self, ids: Int[Tensor, "slots new"], read: Int[Tensor, " slots"], seen: int
    ) -> Float[Tensor, "slots new vocabulary"]:
        """The logits after each of the next tokens of all texts, of which `read` were read."""
        reading = decode_positions(read, ids.shape[1], seen, self.dtype)
        with autocast(ids.device, "auto"):
            return lm_head(self.model, self._hidden(ids, reading))

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Goes on with these slots alone."""
        for layer in self.layers:
            layer.slots = len(rows)
            if layer.keys is not None and layer.values is not None:
                layer.keys, layer.values = layer.keys[rows], layer.values[rows]

    def _hidden(
        self, ids: Int[Tensor, "batch new"], reading: CachePositions
    ) -> Float[Tensor, "batch new width"]:
        for layer in self.layers:
            layer.reading = reading
        # a guess beyond the end of a text may lie beyond the model's last position; nobody keeps it
        last = self.model.config.max_position_embeddings - 1
        body = self.model.base_model(
            input_ids=ids,
            attention_mask=reading.mask.expand(len(ids), -1, -1, -1),
            position_ids=reading.places.clamp(max=last),
            past_key_values=self.cache,
            use_cache=True,
        )
        return body.last_hidden_state
