"""A Llama-like model that reads texts side by side, each at its own place.

The arithmetic is that of transformers' `LlamaModel`, whose bookkeeping at each token (masks,
configuration look-ups, a cache that grows by copying) takes several times as long as the arithmetic
of a small model.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from pipeline.generation import llama_fused
from pipeline.generation.kv_cache import (
    CachePositions,
    CacheTensor,
    decode_positions,
    prefill_positions,
    update_cache,
)
from pipeline.models.language_model import autocast, lm_head

FAMILIES = ("llama", "qwen2")
ROPES = ("default", "linear", "llama3")  # those whose angles do not depend on the text's length
PIECE = 16  # places by which a CPU's caches grow: they are read to their ends, as one stretch

Hidden = Float[Tensor, "batch new width"]
Heads = Float[Tensor, "batch heads new size"]
Visible = Float[Tensor, "batch shared visible size"]  # heads that several queries may share
Turns = Float[Tensor, "batch 1 new size"]


class LayerCache(NamedTuple):
    """Where in the texts, and in a layer's caches, the tokens are that it reads."""

    reading: CachePositions
    cos: Turns
    sin: Turns
    keys: CacheTensor
    values: CacheTensor


def is_supported(model: PreTrainedModel) -> bool:
    """Whether a model is of a family, and of a configuration, whose arithmetic stands here."""
    config = model.config
    return (
        config.model_type in FAMILIES
        and config.rope_parameters["rope_type"] in ROPES
        and not getattr(config, "use_sliding_window", False)
    )


class LlamaDecoder:
    """A model, and the keys and values of the texts that it is part way through."""

    next_block: Callable[..., Hidden]  # of tokens that go on; a GPU has it compiled

    def __init__(self, model: PreTrainedModel, slots: int, length: int, dtype: torch.dtype):
        self.model, self.dtype = model, dtype
        self.next_block = decoder_layer
        layers, size = model.base_model.layers, model.base_model.layers[0].self_attn.head_dim
        shape = (slots, model.config.num_key_value_heads, 0, size)
        self.keys, self.values = (
            [torch.zeros(shape, dtype=dtype, device=model.device) for _ in layers] for _ in "kv"
        )
        self.length = 0  # places of a slot
        self.packed = llama_fused.packed(layers) if model.device.type == "cpu" else []
        if model.device.type != "cpu":  # a captured step needs storage that stays where it is
            self._lengthen(length)

    def begin(self, rows: Int[Tensor, " begun"], ids: Int[Tensor, "begun width"]) -> None:
        """Reads the first tokens of texts into their slots; nobody asks what comes after them."""
        self._make_room(ids.shape[1])
        reading = prefill_positions(rows, ids.shape[1], self.dtype)
        *before, last = self._layers(reading)
        with autocast(ids.device, "auto"):
            hidden = self.model.base_model.embed_tokens(ids)
            for layer, place in before:
                hidden = decoder_layer(layer, hidden, place)
            project_and_cache_kv(last[0], rms_norm(last[0].input_layernorm, hidden), last[1])

    def read(
        self, ids: Int[Tensor, "slots new"], read: Int[Tensor, " slots"], seen: int
    ) -> Float[Tensor, "slots new vocabulary"]:
        """The logits after each of the next tokens of all texts, of which `read` were read."""
        self._make_room(seen)
        body, new = self.model.base_model, ids.shape[1]
        # a text that has ended may be longer than all that go on: nobody asks what follows it
        read = read.clamp(max=self.length - new)
        if self.packed and new == 1:
            return self._read_token(ids[:, 0], read)
        reading = decode_positions(read, new, self.length, self.dtype)
        with autocast(ids.device, "auto"):
            hidden = body.embed_tokens(ids)
            for layer, place in self._layers(reading):
                hidden = self.next_block(layer, hidden, place)
            return lm_head(self.model, rms_norm(body.norm, hidden))

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Goes on with these slots alone."""
        self.keys = [one[rows] for one in self.keys]
        self.values = [one[rows] for one in self.values]

    def _make_room(self, places: int) -> None:
        """Room for so many places, and for some more: lengthening copies what is there."""
        if places > self.length:
            self._lengthen(-(-(places + places // 8) // PIECE) * PIECE)

    def _lengthen(self, length: int) -> None:
        self.keys = [_longer(one, length) for one in self.keys]
        self.values = [_longer(one, length) for one in self.values]
        self.length = length

        body = self.model.base_model
        every = torch.arange(length, device=self.model.device)[None]
        cos, sin = body.rotary_emb(body.embed_tokens.weight, every)
        sign = torch.ones_like(sin[0])
        sign[:, : sign.shape[1] // 2] = -1  # of the half that turns the other way
        self.cos, self.sin = cos[0], sin[0] * sign
        if self.packed:
            slots, shared = self.keys[0].shape[:2]
            self.places = llama_fused.Places(self.cos, self.sin, slots, shared)

    def _read_token(
        self, ids: Int[Tensor, " slots"], read: Int[Tensor, " slots"]
    ) -> Float[Tensor, "slots 1 vocabulary"]:
        body = self.model.base_model
        hidden, at = body.embed_tokens(ids), self.places.token(read)
        for layer, *caches in zip(self.packed, self.keys, self.values, strict=True):
            hidden = llama_fused.block(layer, hidden, at, *caches)
        return lm_head(self.model, rms_norm(body.norm, hidden))[:, None].float()

    def _layers(self, reading: CachePositions) -> list[tuple[torch.nn.Module, LayerCache]]:
        cos, sin = self.cos[reading.places][:, None], self.sin[reading.places][:, None]
        stored = zip(self.model.base_model.layers, self.keys, self.values, strict=True)
        return [(layer, LayerCache(reading, cos, sin, *caches)) for layer, *caches in stored]


def _longer(cache: CacheTensor, length: int) -> Float[Tensor, "slots heads longer size"]:
    """The same keys or values, with more room behind them."""
    slots, heads, before, size = cache.shape
    longer = cache.new_empty(slots, heads, length, size)
    longer[:, :, :before] = cache
    # what no text has written yet is hidden by adding -inf to its score: it must be finite
    longer[:, :, before:].zero_()
    return longer


def decoder_layer(layer: torch.nn.Module, hidden: Hidden, place: LayerCache) -> Hidden:
    """One layer: attention, and what follows it."""
    seen, attention = rms_norm(layer.input_layernorm, hidden), layer.self_attn
    key, value = project_and_cache_kv(layer, seen, place)
    query = apply_rotary(split_heads(attention, attention.q_proj(seen)), place)
    attended = grouped_attention(query.to(key.dtype), key, value, place.reading)
    hidden = hidden + attention.o_proj(attended.transpose(1, 2).flatten(2))

    seen, mlp = rms_norm(layer.post_attention_layernorm, hidden), layer.mlp
    return hidden + mlp.down_proj(mlp.act_fn(mlp.gate_proj(seen)).mul_(mlp.up_proj(seen)))


def project_and_cache_kv(
    layer: torch.nn.Module, seen: Hidden, place: LayerCache
) -> tuple[Visible, Visible]:
    """The keys and values that a layer's tokens may attend to, their own now among them."""
    attention, reading = layer.self_attn, place.reading
    key = apply_rotary(split_heads(attention, attention.k_proj(seen)), place)
    value = split_heads(attention, attention.v_proj(seen))
    return update_cache(place.keys, key, reading), update_cache(place.values, value, reading)


def split_heads(attention: torch.nn.Module, projected: Hidden) -> Heads:
    """Each head's part of a projection, with heads before tokens."""
    return projected.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)


def grouped_attention(query: Heads, key: Visible, value: Visible, reading: CachePositions) -> Heads:
    """Heads that share keys and values count as further tokens of theirs: nothing is repeated."""
    shared, (batch, heads, new, size) = key.shape[1], query.shape
    turns = heads // shared
    if not reading.seen:
        return F.scaled_dot_product_attention(
            query, key, value, is_causal=True, enable_gqa=turns > 1
        )
    mask = reading.mask if new == 1 else reading.mask.repeat(1, 1, turns, 1)
    found = F.scaled_dot_product_attention(
        query.reshape(batch, shared, turns * new, size),
        key,
        value,
        attn_mask=mask.expand(batch, shared, turns * new, -1),
    )
    return found.reshape(batch, heads, new, size)


def rms_norm(norm: torch.nn.Module, hidden: Float[Tensor, "*batch width"]) -> Tensor:
    """The root-mean-square norm."""
    return F.rms_norm(hidden, hidden.shape[-1:], norm.weight, norm.variance_epsilon)


def apply_rotary(x: Heads, place: LayerCache) -> Heads:
    """Rotary positions; the signs of the rotation are in `sin`."""
    return x * place.cos + x.roll(x.shape[-1] // 2, -1) * place.sin
