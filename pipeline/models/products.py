"""Products of float32 matrices on a CPU, by oneDNN where it is faster than torch's choice, MKL.

MKL leaves half of the vector width of an AMD processor with AVX-512 unused. There oneDNN takes less
than half of the time: 0.17 instead of 0.40 ms for the logits of 64 tokens of a model of width 160.
Its sums are the same to the bit on that processor, because `linear` cuts them into parts as MKL
does there; elsewhere the last digit may differ.

Passes with a gradient multiply as torch does, and so do all others in which a learning model reads
texts, because some losses compare them. Its generation is by oneDNN.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel

# multiplications of a part: before the first, oneDNN takes 10 microseconds and MKL 2
WORTHWHILE = 2**21
PART = 192  # products that MKL adds up at once; of up to twice as many it halves the sum


def linear(
    x: Float[Tensor, "*rows inputs"],
    weight: Float[Tensor, "outputs inputs"],
    bias: Float[Tensor, " outputs"] | None = None,
) -> Float[Tensor, "*rows outputs"]:
    """The product x Wᵀ, plus b."""
    if not is_faster_by_onednn(x, weight):
        return F.linear(x, weight, bias)
    length = _part_length(x.shape[-1])
    total, *others = map(_product, x.split(length, dim=-1), weight.split(length, dim=1))
    for part in others if bias is None else [bias, *others]:
        total.add_(part)
    return total


def _part_length(inputs: int) -> int:
    return inputs if inputs <= PART else min(PART, inputs // 2)


def _product(x: Tensor, weight: Tensor) -> Tensor:
    # of rows that are apart, oneDNN's product is a plain loop, and its sums are others
    rows, columns = x.contiguous(), weight.contiguous()
    return torch.ops.mkldnn._linear_pointwise.default(rows, columns, None, "none", [], "")


def is_faster_by_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN can multiply these, without a gradient, and sooner than torch by itself."""
    return (
        x.numel() * weight.shape[0] >= WORTHWHILE * -(-x.shape[-1] // PART)
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and type(weight) in (Tensor, Parameter)  # no shard of a matrix
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()
    )


REPLACED: dict[Callable[..., object], Callable[..., object]] = {F.linear: linear}


class LinearByOneDnn(TorchFunctionMode):
    """A stretch of code whose linear layers multiply by `linear`."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """The result of a function of torch."""
        return REPLACED.get(func, func)(*args, **(kwargs or {}))


def frozen_products(model: PreTrainedModel) -> AbstractContextManager[object]:
    """The fastest products for a pass of a model, if it is on a CPU and doesn't learn."""
    # the products of a compiled layer are its compiler's, and a mode would cut its graph at each
    applies = is_read_only_on_cpu(model) and not is_compiled(model)
    return LinearByOneDnn() if applies else nullcontext()


def is_read_only_on_cpu(model: PreTrainedModel) -> bool:
    """Whether a model on a CPU is read without a gradient and doesn't learn."""
    return model.device.type == "cpu" and not torch.is_grad_enabled() and is_frozen(model)


def is_compiled(model: PreTrainedModel) -> bool:
    """Whether a part of a model was compiled in place."""
    return any(module._compiled_call_impl is not None for module in model.modules())


def is_frozen(model: PreTrainedModel) -> bool:
    """Whether no weight of a model has a gradient and no part of it is in training mode."""
    learns = any(weight.requires_grad for weight in model.parameters())
    return not learns and not any(module.training for module in model.modules())
