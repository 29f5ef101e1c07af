"""Linear layers under autocast that keep no bfloat16 copy of their weight for the backward pass.

Autocast casts a weight of float32 for the product, and autograd keeps the copy: 2 bytes for each
weight of a model, whole on every rank, however many share the weights themselves. Here the backward
pass casts the weight once more, which is gathered then. The numbers are those of autocast.
"""

from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel

from pipeline.runtime.autograd import once_differentiable


class RecastLinear(torch.autograd.Function):
    """W x + b in a lower precision, with gradients as autograd takes them of autocast's product."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Float[Tensor, "*tokens inputs"],
        weight: Float[Tensor, "outputs inputs"],
        bias: Float[Tensor, " outputs"] | None,
        dtype: torch.dtype,
    ) -> Float[Tensor, "*tokens outputs"]:
        """The product; the weight is kept as it is."""
        low = x.to(dtype)
        ctx.save_for_backward(low, weight)
        ctx.dtypes = x.dtype, None if bias is None else bias.dtype
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(low, weight.to(dtype), None if bias is None else bias.to(dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of input, weight and bias, where they are needed."""
        (gradient,), (low, weight) = gradients, ctx.saved_tensors
        (of_input, of_weight, of_bias, _), (input_type, bias_type) = (
            ctx.needs_input_grad,
            ctx.dtypes,
        )
        rows = gradient.flatten(0, -2)
        return (
            (rows @ weight.to(low.dtype)).view_as(low).to(input_type) if of_input else None,
            (rows.T @ low.flatten(0, -2)).to(weight.dtype) if of_weight else None,
            rows.sum(0).to(bias_type) if of_bias else None,
            None,
        )


def keep_no_copies(model: PreTrainedModel) -> None:
    """Has each linear layer of float32 cast its weight again in the backward pass; not the head.

    The head's products are of another kind (`pipeline.models.logits`).
    """
    for layer in model.modules():
        if type(layer) is torch.nn.Linear and layer is not model.get_output_embeddings():
            vars(layer)["forward"] = partial(_forward, layer)


def _forward(
    layer: torch.nn.Linear, x: Float[Tensor, "*tokens inputs"]
) -> Float[Tensor, "*tokens outputs"]:
    kind, weight = x.device.type, layer.weight
    if weight.dtype != torch.float32 or not torch.is_autocast_enabled(kind):
        return F.linear(x, weight, layer.bias)
    return RecastLinear.apply(x, weight, layer.bias, torch.get_autocast_dtype(kind))
