"""A Llama-like decoder whose sequences are at positions of their own.

The arithmetic is that of transformers' `LlamaModel`, whose bookkeeping per token (masks,
configuration look-ups, a cache that grows by copying) takes several times as long as the arithmetic
of a small model.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel
from transformers.models.llama.modeling_llama import (
    LlamaAttention,
    LlamaDecoderLayer,
    LlamaModel,
    LlamaRMSNorm,
)
from transformers.models.qwen2.modeling_qwen2 import (
    Qwen2Attention,
    Qwen2DecoderLayer,
    Qwen2Model,
    Qwen2RMSNorm,
)

from pipeline.generation import llama_fused
from pipeline.generation.kv_cache import (
    CachePositions,
    CacheTensor,
    causal_mask,
    decode_positions,
    prefill_positions,
    update_cache,
)
from pipeline.models.language_model import autocast, lm_head
from pipeline.models.products import LinearByOneDnn
from pipeline.models.sharding import is_sharded

FAMILIES = ("llama", "qwen2")
ROPE_TYPES = ("default", "linear", "llama3")  # whose angles do not depend on a sequence's length
CACHE_GRAIN = 16  # positions by which a CPU's caches grow: they are read whole, as one stretch

Body = LlamaModel | Qwen2Model
Layer = LlamaDecoderLayer | Qwen2DecoderLayer
Hidden = Float[Tensor, "batch new width"]
Heads = Float[Tensor, "batch heads new size"]
Visible = Float[Tensor, "batch kv_heads visible size"]
Rotation = Float[Tensor, "batch 1 new size"]
Mask = Float[Tensor, "batch 1 new visible"]


class LayerCache(NamedTuple):
    """A layer's KV cache, and the positions of the current tokens in it and in their texts."""

    entries: CachePositions
    mask: Mask | None  # added to attention scores; None: the current tokens are the first ones
    cos: Rotation
    sin: Rotation
    keys: CacheTensor
    values: CacheTensor


def is_supported(model: PreTrainedModel) -> bool:
    """Whether a model is of a family and configuration that this arithmetic is right for."""
    config = model.config
    return (
        config.model_type in FAMILIES
        and config.rope_parameters["rope_type"] in ROPE_TYPES
        and not getattr(config, "use_sliding_window", False)
        and not is_sharded(model)  # its layers have weights in its own forward alone
    )


class LlamaDecoder:
    """A model with the KV caches of the sequences in its slots."""

    decode_layer: Callable[..., Hidden]  # compiled on a GPU

    def __init__(self, model: PreTrainedModel, slots: int, length: int, dtype: torch.dtype):
        body = model.base_model
        assert isinstance(body, Body)
        self.model, self.body, self.dtype = model, body, dtype
        self.layers = [layer for layer in body.layers if isinstance(layer, Layer)]
        self.decode_layer = decoder_layer
        shape = (slots, model.config.num_key_value_heads, 0, self.layers[0].self_attn.head_dim)
        self.keys, self.values = (
            [torch.zeros(shape, dtype=dtype, device=model.device) for _ in self.layers]
            for _ in "kv"
        )
        self.length = 0  # positions of a slot
        on_cpu = model.device.type == "cpu"
        self.products = LinearByOneDnn if on_cpu else nullcontext
        self.fused = llama_fused.fuse(self.layers) if on_cpu else []
        if not on_cpu:  # a captured step needs storage that stays in place
            self._resize(length)

    def prefill(self, rows: Int[Tensor, " new_rows"], ids: Int[Tensor, "new_rows width"]) -> None:
        """Fills the caches with the first tokens of sequences; no logits are computed."""
        self._ensure_length(ids.shape[1])
        entries = prefill_positions(rows, ids.shape[1])
        *others, last = zip(self.layers, self._caches(entries, None), strict=True)
        with autocast(ids.device, "auto"), self.products():
            hidden = self.body.embed_tokens(ids)
            for layer, cache in others:
                hidden = decoder_layer(layer, hidden, cache)
            project_and_cache_kv(last[0], rms_norm(last[0].input_layernorm, hidden), last[1])

    def decode(
        self, ids: Int[Tensor, "slots new"], cached: Int[Tensor, " slots"], visible: int
    ) -> Float[Tensor, "slots new vocabulary"]:
        """The logits after each of the next tokens of all sequences."""
        self._ensure_length(visible)
        new = ids.shape[1]
        # a finished sequence may be longer than all active ones: its logits are ignored
        cached = cached.clamp(max=self.length - new)
        if self.fused and new == 1:
            return self._decode_fused(ids[:, 0], cached)
        entries = decode_positions(cached, new, self.length)
        mask = causal_mask(entries.positions, self.length, self.dtype)
        with autocast(ids.device, "auto"):
            hidden = self.body.embed_tokens(ids)
            for layer, cache in zip(self.layers, self._caches(entries, mask), strict=True):
                hidden = self.decode_layer(layer, hidden, cache)
            return lm_head(self.model, rms_norm(self.body.norm, hidden))

    def select(self, rows: Int[Tensor, " selected"]) -> None:
        """Continues with these slots alone."""
        self.keys = [keys[rows] for keys in self.keys]
        self.values = [values[rows] for values in self.values]

    def _ensure_length(self, length: int) -> None:
        """Slots of this length and some more, since growing copies the caches."""
        if length > self.length:
            self._resize(-(-(length + length // 8) // CACHE_GRAIN) * CACHE_GRAIN)

    def _resize(self, length: int) -> None:
        self.keys = [_extended(keys, length) for keys in self.keys]
        self.values = [_extended(values, length) for values in self.values]
        self.length = length

        positions = torch.arange(length, device=self.model.device)[None]
        cos, sin = self.body.rotary_emb(self.body.embed_tokens.weight, positions)
        sign = torch.ones_like(sin[0])
        sign[:, : sign.shape[1] // 2] = -1  # of the half that turns the other way
        self.cos, self.sin = cos[0], sin[0] * sign
        if self.fused:
            slots, kv_heads = self.keys[0].shape[:2]
            self.tables = llama_fused.PositionTables(self.cos, self.sin, slots, kv_heads)

    def _decode_fused(
        self, ids: Int[Tensor, " slots"], cached: Int[Tensor, " slots"]
    ) -> Float[Tensor, "slots 1 vocabulary"]:
        hidden, positions = self.body.embed_tokens(ids), self.tables.look_up(cached)
        for layer, keys, values in zip(self.fused, self.keys, self.values, strict=True):
            hidden = llama_fused.decoder_layer(layer, hidden, positions, keys, values)
        normed = llama_fused.rms_norm(self.body.norm, hidden)
        with self.products():
            return lm_head(self.model, normed)[:, None].float()

    def _caches(self, entries: CachePositions, mask: Mask | None) -> list[LayerCache]:
        cos, sin = self.cos[entries.positions][:, None], self.sin[entries.positions][:, None]
        caches = zip(self.keys, self.values, strict=True)
        return [LayerCache(entries, mask, cos, sin, keys, values) for keys, values in caches]


def _extended(cache: CacheTensor, length: int) -> Float[Tensor, "slots heads longer size"]:
    """The same keys or values in longer slots."""
    slots, heads, before, size = cache.shape
    longer = cache.new_empty(slots, heads, length, size)
    longer[:, :, :before] = cache
    # positions not yet filled are masked by adding -inf to their scores: they must be finite
    longer[:, :, before:].zero_()
    return longer


def decoder_layer(layer: Layer, hidden: Hidden, cache: LayerCache) -> Hidden:
    """The output of one layer: attention, then the feed-forward network."""
    normed, attention = rms_norm(layer.input_layernorm, hidden), layer.self_attn
    key, value = project_and_cache_kv(layer, normed, cache)
    query = apply_rotary(split_heads(attention, attention.q_proj(normed)), cache)
    attended = grouped_attention(query.to(key.dtype), key, value, cache.mask)
    hidden = hidden + attention.o_proj(attended.transpose(1, 2).flatten(2))

    normed, mlp = rms_norm(layer.post_attention_layernorm, hidden), layer.mlp
    return hidden + mlp.down_proj(mlp.act_fn(mlp.gate_proj(normed)).mul_(mlp.up_proj(normed)))


def project_and_cache_kv(
    layer: Layer, normed: Hidden, cache: LayerCache
) -> tuple[Visible, Visible]:
    """The keys and values that a layer's tokens attend to, after theirs have joined the cache."""
    attention = layer.self_attn
    key = apply_rotary(split_heads(attention, attention.k_proj(normed)), cache)
    value = split_heads(attention, attention.v_proj(normed))
    keys = update_cache(cache.keys, key, cache.entries)
    return keys, update_cache(cache.values, value, cache.entries)


def split_heads(attention: LlamaAttention | Qwen2Attention, projected: Hidden) -> Heads:
    """A projection as [batch, heads, new, size]."""
    return projected.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)


def grouped_attention(query: Heads, key: Visible, value: Visible, mask: Mask | None) -> Heads:
    """Attention in which queries that share a key head are treated as further tokens of it.

    So no key or value is repeated.
    """
    kv_heads, (batch, heads, new, size) = key.shape[1], query.shape
    group = heads // kv_heads
    if mask is None:
        return F.scaled_dot_product_attention(
            query, key, value, is_causal=True, enable_gqa=group > 1
        )
    mask = mask if new == 1 else mask.repeat(1, 1, group, 1)
    attended = F.scaled_dot_product_attention(
        query.reshape(batch, kv_heads, group * new, size),
        key,
        value,
        attn_mask=mask.expand(batch, kv_heads, group * new, -1),
    )
    return attended.reshape(batch, heads, new, size)


def rms_norm(
    norm: LlamaRMSNorm | Qwen2RMSNorm, hidden: Float[Tensor, "*batch width"]
) -> Float[Tensor, "*batch width"]:
    """Hidden states divided by their root mean square, times the norm's weight."""
    return F.rms_norm(hidden, hidden.shape[-1:], norm.weight, norm.variance_epsilon)


def apply_rotary(x: Heads, cache: LayerCache) -> Heads:
    """Rotary position embedding; the signs of the rotation are in `sin`."""
    return x * cache.cos + x.roll(x.shape[-1] // 2, -1) * cache.sin
