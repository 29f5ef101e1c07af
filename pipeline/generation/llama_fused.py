"""The single-token step of a small Llama-like model on a CPU, with fused projections.

There a token's matrix products are so small that the overhead around them counts. One product gives
queries, keys and values, which are rotated together; another gives gate and up; and a residual is
added by the product that it is added to. Otherwise the arithmetic is that of
`llama_forward.decoder_layer`.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import Linear, Module
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRMSNorm
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer, Qwen2RMSNorm

from pipeline.models.products import is_faster_by_onednn, linear

MAX_WEIGHTS = 8_000_000  # in a model's matrices: larger ones gain nothing by a fused copy

Layer = LlamaDecoderLayer | Qwen2DecoderLayer
Norm = LlamaRMSNorm | Qwen2RMSNorm
Hidden = Float[Tensor, "batch width"]
CacheTensor = Float[Tensor, "batch kv_heads length size"]
Epsilon = Float[Tensor, "1 1"]  # of a root-mean-square norm
Table = Float[Tensor, "length size"]
Rotation = Float[Tensor, "batch 1 size"]


class FusedLinear(NamedTuple):
    """The weights and biases of linear layers with the same input, side by side."""

    weight: Float[Tensor, "outputs inputs"]
    bias: Float[Tensor, " outputs"] | None


class FusedLayer(NamedTuple):
    """A layer's weights when it was fused; norm weights are folded into the next projection."""

    attention_epsilon: Epsilon
    qkv: FusedLinear
    out: FusedLinear
    mlp_epsilon: Epsilon
    gate_up: FusedLinear
    down: FusedLinear
    activation: Callable[[Tensor], Tensor]


class TokenPositions(NamedTuple):
    """Rotation, cache row and mask of each sequence's current token."""

    cos: Rotation
    sin: Rotation  # with the signs of the rotation
    rows: Int[Tensor, " kv_rows"]  # of its keys, in a cache seen as rows of a head's size
    mask: Float[Tensor, "kv_rows 1 length"]  # added to attention scores


def fuse(layers: Sequence[Layer]) -> list[FusedLayer]:
    """All layers fused; none if the model is too large or a projection isn't a plain linear layer.

    An adapter is a module around a projection, and a hook changes what a projection gives: a copy
    of the weights would miss both.
    """
    modules = {module for layer in layers for module in layer.modules()}
    matrices = [
        (module, weight)
        for module in modules
        for weight in module.parameters(recurse=False)
        if weight.ndim > 1
    ]
    projections = {linear for layer in layers for group in _groups(layer) for linear in group}
    plain = all(type(module) is Linear and module in projections for module, _ in matrices)
    hooked = any(module._forward_hooks or module._forward_pre_hooks for module, _ in matrices)
    if not plain or hooked or sum(weight.numel() for _, weight in matrices) > MAX_WEIGHTS:
        return []
    return [_fused_layer(layer) for layer in layers]


def _groups(layer: Layer) -> Sequence[Sequence[Module]]:
    attention, mlp = layer.self_attn, layer.mlp
    qkv = [attention.q_proj, attention.k_proj, attention.v_proj]
    return [qkv, [attention.o_proj], [mlp.gate_proj, mlp.up_proj], [mlp.down_proj]]


def _fused_layer(layer: Layer) -> FusedLayer:
    norms = layer.input_layernorm, layer.post_attention_layernorm
    qkv, out, gate_up, down = _groups(layer)
    attention_epsilon, mlp_epsilon = (
        norm.weight.new_full((1, 1), norm.variance_epsilon) for norm in norms
    )
    return FusedLayer(
        attention_epsilon,
        _fused_linear(qkv, norms[0]),
        _fused_linear(out),
        mlp_epsilon,
        _fused_linear(gate_up, norms[1]),
        _fused_linear(down),
        layer.mlp.act_fn,
    )


def _fused_linear(modules: Sequence[Module], norm: Norm | None = None) -> FusedLinear:
    """Projections of one input stacked into one matrix, with the norm's weight folded in."""
    parts = [module for module in modules if isinstance(module, Linear)]
    biases: list[Tensor] = [part.bias for part in parts if part.bias is not None]
    weights: list[Tensor] = [part.weight for part in parts]
    weight = torch.cat(weights) if len(weights) > 1 else weights[0]
    if norm is not None:
        weight = weight * norm.weight
    return FusedLinear(weight.detach(), torch.cat(biases) if biases else None)


class PositionTables:
    """Rotations and masks of every position, for slots as long as the tables."""

    def __init__(self, cos: Table, sin: Table, slots: int, kv_heads: int):
        self.kv_heads, (length, size) = kv_heads, cos.shape
        self.rotations = torch.cat([cos, sin], dim=1).view(length, 2, 1, size)
        masked = torch.zeros(2 * length - 1, dtype=cos.dtype)
        masked[length:] = -torch.inf
        self.masks = masked.unfold(0, length, 1)  # each masks one position more than the one before
        self.first_rows = torch.arange(0, slots * kv_heads * length, length)

    def look_up(self, cached: Int[Tensor, " batch"]) -> TokenPositions:
        """The entries for the next token of sequences with `cached` tokens in the cache."""
        by_head = cached.repeat_interleave(self.kv_heads)
        cos, sin = self.rotations.index_select(0, cached).unbind(1)
        mask = self.masks.index_select(0, len(self.masks) - 1 - by_head)[:, None]
        return TokenPositions(cos, sin, self.first_rows[: len(by_head)] + by_head, mask)


def decoder_layer(
    layer: FusedLayer,
    hidden: Hidden,
    positions: TokenPositions,
    keys: CacheTensor,
    values: CacheTensor,
) -> Hidden:
    """The output of one layer: attention, then the feed-forward network."""
    batch, kv_heads, _, size = keys.shape
    heads = linear(_rms_normalized(hidden, layer.attention_epsilon), *layer.qkv)
    heads = heads.view(batch, -1, size)
    rotating, value = heads[:, :-kv_heads], heads[:, -kv_heads:]
    rotated = torch.addcmul(rotating * positions.cos, rotating.roll(size // 2, -1), positions.sin)
    query = rotated[:, :-kv_heads].reshape(batch * kv_heads, -1, size)
    keys.view(-1, size).index_copy_(0, positions.rows, rotated[:, -kv_heads:].reshape(-1, size))
    values.view(-1, size).index_copy_(0, positions.rows, value.reshape(-1, size))

    scores = torch.baddbmm(positions.mask, query, keys.flatten(0, 1).mT, alpha=size**-0.5)
    attended = torch.bmm(scores.softmax(-1), values.flatten(0, 1)).view(batch, -1)
    hidden = _add_linear(hidden, attended, layer.out)
    gate, up = linear(_rms_normalized(hidden, layer.mlp_epsilon), *layer.gate_up).chunk(2, -1)
    return _add_linear(hidden, layer.activation(gate).mul_(up), layer.down)


def rms_norm(norm: Norm, hidden: Hidden) -> Hidden:
    """A norm whose weight is folded into no projection; torch's own takes six passes on a CPU."""
    epsilon = hidden.new_full((1, 1), norm.variance_epsilon)
    return _rms_normalized(hidden, epsilon).mul_(norm.weight)


def _rms_normalized(hidden: Hidden, epsilon: Epsilon) -> Hidden:
    """Hidden states divided by their root mean square."""
    length = torch.linalg.vector_norm(hidden, dim=1, keepdim=True)
    mean_square = torch.addcmul(epsilon, length, length, value=1 / hidden.shape[1])
    return hidden * mean_square.rsqrt_()


def _add_linear(hidden: Hidden, x: Float[Tensor, "batch inputs"], matrix: FusedLinear) -> Hidden:
    if is_faster_by_onednn(x, matrix.weight):
        return linear(x, *matrix).add_(hidden)
    total = torch.addmm(hidden, x, matrix.weight.t())
    return total if matrix.bias is None else total.add_(matrix.bias)
