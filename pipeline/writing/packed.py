"""A small Llama-like model that reads a token of each text on a CPU.

There the products of a token are so small that what stands around them counts. Queries, keys and
values come from one product here and turn together, gate and up come from another, and a residual
is added by the product that it is added to. Otherwise it is the arithmetic of `llama.block`.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import Linear, Module, ModuleList
from torch.nn import functional as F

MOST_ENTRIES = 8_000_000  # of a model's matrices: larger ones gain nothing by a copy

Hidden = Float[Tensor, "batch width"]
Stored = Float[Tensor, "batch shared length size"]  # heads that several queries may share
Turns = Float[Tensor, "batch 1 size"]


class Matrix(NamedTuple):
    """The weights and biases of linear layers that read the same, side by side."""

    weight: Float[Tensor, "inputs outputs"]
    bias: Float[Tensor, " outputs"] | None


class Norm(NamedTuple):
    """A root-mean-square norm."""

    weight: Float[Tensor, " width"]
    epsilon: float


class Packed(NamedTuple):
    """A layer, as its weights were when it was packed."""

    before_attention: Norm
    qkv: Matrix
    out: Matrix
    before_gates: Norm
    gate_up: Matrix
    down: Matrix
    activation: Callable[[Tensor], Tensor]


class Token(NamedTuple):
    """Where the next token of each text stands, and what it may attend to."""

    cos: Turns
    sin: Turns  # with the signs of the rotation
    rows: Int[Tensor, " stored"]  # of its keys, in a cache whose rows are of a head's size
    mask: Float[Tensor, "stored 1 length"]  # added to scores


def packed(layers: ModuleList) -> list[Packed]:
    """All layers packed; none where that is not worth it, or where one is no plain linear layer."""
    linear = [one for layer in layers for one in layer.modules() if hasattr(one, "weight")]
    linear = [one for one in linear if one.weight.ndim > 1]
    # an adapter is a layer within another one; what hooks do, a copy of the weights doesn't
    names = {id(one) for layer in layers for group in _groups(layer) for one in group}
    plain = all(type(one) is Linear and id(one) in names for one in linear)
    hooked = any(one._forward_hooks or one._forward_pre_hooks for one in linear)
    if not plain or hooked or sum(one.weight.numel() for one in linear) > MOST_ENTRIES:
        return []
    return [_packed(layer) for layer in layers]


def _groups(layer: Module) -> list[list[Module]]:
    attention, mlp = layer.self_attn, layer.mlp
    qkv = [attention.q_proj, attention.k_proj, attention.v_proj]
    return [qkv, [attention.o_proj], [mlp.gate_proj, mlp.up_proj], [mlp.down_proj]]


def _packed(layer: Module) -> Packed:
    norms = (layer.input_layernorm, layer.post_attention_layernorm)
    first, second = (Norm(one.weight, one.variance_epsilon) for one in norms)
    qkv, out, gate_up, down = (_joined(group) for group in _groups(layer))
    return Packed(first, qkv, out, second, gate_up, down, layer.mlp.act_fn)


def _joined(parts: list[Module]) -> Matrix:
    biases = [one.bias for one in parts if one.bias is not None]
    weight = torch.cat([one.weight for one in parts]) if len(parts) > 1 else parts[0].weight
    return Matrix(weight.t(), torch.cat(biases) if biases else None)


def token(
    read: Int[Tensor, " batch"],
    cos: Float[Tensor, "length size"],
    sin: Float[Tensor, "length size"],
    shared: int,
) -> Token:
    """The places of texts of which so many tokens were read, in slots as long as the tables."""
    batch, length = len(read), len(cos)
    first = torch.arange(0, batch * shared * length, length).view(batch, shared)
    beyond = torch.arange(length) > read[:, None]
    mask = torch.zeros(batch, length, dtype=cos.dtype).masked_fill_(beyond, -torch.inf)
    mask = mask[:, None].expand(-1, shared, -1).reshape(batch * shared, 1, length)
    return Token(cos[read][:, None], sin[read][:, None], (first + read[:, None]).flatten(), mask)


def block(one: Packed, hidden: Hidden, at: Token, keys: Stored, values: Stored) -> Hidden:
    """One layer: attention, and what follows it."""
    (batch, shared, _, size), norm = keys.shape, one.before_attention
    seen = F.rms_norm(hidden, hidden.shape[1:], norm.weight, norm.epsilon)
    heads = _product(seen, one.qkv).view(batch, -1, size)
    turning, value = heads[:, :-shared], heads[:, -shared:]
    turned = torch.addcmul(turning * at.cos, turning.roll(size // 2, -1), at.sin)
    query = turned[:, :-shared].reshape(batch * shared, -1, size)
    keys.view(-1, size).index_copy_(0, at.rows, turned[:, -shared:].reshape(-1, size))
    values.view(-1, size).index_copy_(0, at.rows, value.reshape(-1, size))

    scores = torch.baddbmm(at.mask, query, keys.flatten(0, 1).mT, alpha=size**-0.5)
    attended = torch.bmm(scores.softmax(-1), values.flatten(0, 1)).view(batch, -1)
    hidden, norm = _added(hidden, attended, one.out), one.before_gates
    seen = F.rms_norm(hidden, hidden.shape[1:], norm.weight, norm.epsilon)
    gate, up = _product(seen, one.gate_up).chunk(2, -1)
    return _added(hidden, one.activation(gate).mul_(up), one.down)


def _product(seen: Tensor, matrix: Matrix) -> Tensor:
    if matrix.bias is None:
        return torch.mm(seen, matrix.weight)
    return torch.addmm(matrix.bias, seen, matrix.weight)


def _added(hidden: Hidden, seen: Tensor, matrix: Matrix) -> Hidden:
    total = torch.addmm(hidden, seen, matrix.weight)
    return total if matrix.bias is None else total.add_(matrix.bias)
