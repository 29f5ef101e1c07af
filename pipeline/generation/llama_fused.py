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

MOST_ENTRIES = 8_000_000  # of a model's matrices: larger ones gain nothing by a copy

Hidden = Float[Tensor, "batch width"]
Stored = Float[Tensor, "batch shared length size"]  # heads that several queries may share
Epsilon = Float[Tensor, "1 1"]  # of a root-mean-square norm
Table = Float[Tensor, "length size"]
Turns = Float[Tensor, "batch 1 size"]


class Matrix(NamedTuple):
    """The weights and biases of linear layers that read the same, side by side."""

    weight: Float[Tensor, "inputs outputs"]
    bias: Float[Tensor, " outputs"] | None


class Packed(NamedTuple):
    """A layer, as its weights were when it was packed; the norms' are part of what follows them."""

    before_attention: Epsilon
    qkv: Matrix
    out: Matrix
    before_gates: Epsilon
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
    norms = [layer.input_layernorm, None, layer.post_attention_layernorm, None]
    qkv, out, gate_up, down = map(_joined, _groups(layer), norms)
    first, second = (one.weight.new_full((1, 1), one.variance_epsilon) for one in norms[::2])
    return Packed(first, qkv, out, second, gate_up, down, layer.mlp.act_fn)


def _joined(parts: list[Module], norm: Module | None) -> Matrix:
    """One matrix, of inputs that a norm has yet to weigh."""
    biases = [one.bias for one in parts if one.bias is not None]
    weight = torch.cat([one.weight for one in parts]) if len(parts) > 1 else parts[0].weight
    if norm is not None:
        weight = weight * norm.weight
    return Matrix(weight.t(), torch.cat(biases) if biases else None)


class Places:
    """Whatever depends on a token's place alone, for slots as long as the tables."""

    def __init__(self, cos: Table, sin: Table, slots: int, shared: int):
        self.shared, (length, size) = shared, cos.shape
        self.turns = torch.cat([cos, sin], dim=1).view(length, 2, 1, size)
        hidden = torch.zeros(2 * length - 1, dtype=cos.dtype)
        hidden[length:] = -torch.inf
        self.masks = hidden.unfold(0, length, 1)  # each hides one place more than that before it
        self.first = torch.arange(0, slots * shared * length, length)

    def token(self, read: Int[Tensor, " batch"]) -> Token:
        """The places of the next token of texts of which so many were read."""
        of_heads = read.repeat_interleave(self.shared)
        cos, sin = self.turns.index_select(0, read).unbind(1)
        mask = self.masks.index_select(0, len(self.masks) - 1 - of_heads)[:, None]
        return Token(cos, sin, self.first[: len(of_heads)] + of_heads, mask)


def block(one: Packed, hidden: Hidden, at: Token, keys: Stored, values: Stored) -> Hidden:
    """One layer: attention, and what follows it."""
    batch, shared, _, size = keys.shape
    heads = _product(_normed(hidden, one.before_attention), one.qkv).view(batch, -1, size)
    turning, value = heads[:, :-shared], heads[:, -shared:]
    turned = torch.addcmul(turning * at.cos, turning.roll(size // 2, -1), at.sin)
    query = turned[:, :-shared].reshape(batch * shared, -1, size)
    keys.view(-1, size).index_copy_(0, at.rows, turned[:, -shared:].reshape(-1, size))
    values.view(-1, size).index_copy_(0, at.rows, value.reshape(-1, size))

    scores = torch.baddbmm(at.mask, query, keys.flatten(0, 1).mT, alpha=size**-0.5)
    attended = torch.bmm(scores.softmax(-1), values.flatten(0, 1)).view(batch, -1)
    hidden = _added(hidden, attended, one.out)
    gate, up = _product(_normed(hidden, one.before_gates), one.gate_up).chunk(2, -1)
    return _added(hidden, one.activation(gate).mul_(up), one.down)


def _normed(hidden: Hidden, epsilon: Epsilon) -> Hidden:
    """Divided by its root mean square."""
    length = torch.linalg.vector_norm(hidden, dim=1, keepdim=True)
    mean = torch.addcmul(epsilon, length, length, value=1 / hidden.shape[1])
    return hidden * mean.rsqrt_()


def _product(seen: Tensor, matrix: Matrix) -> Tensor:
    if matrix.bias is None:
        return torch.mm(seen, matrix.weight)
    return torch.addmm(matrix.bias, seen, matrix.weight)


def _added(hidden: Hidden, seen: Tensor, matrix: Matrix) -> Hidden:
    total = torch.addmm(hidden, seen, matrix.weight)
    return total if matrix.bias is None else total.add_(matrix.bias)
