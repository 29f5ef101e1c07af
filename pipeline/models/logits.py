"""From hidden states to logits: one product in float32, then the scaling of a model's family.

Between the body and the logits a family may scale hidden states (MiniCPM3) or logits (Granite
divides, HyperCLOVA X multiplies by a number of the same name, Cohere, Falcon-H1), and cap them
(Gemma, RecurrentGemma, xLSTM, each under a name of its own):

    logits = c tanh(s (W (b h) + bias) / c)        s, b = 1 and no cap c for most

The numbers in a model's own forward pass are measured: it is run with other values substituted for
its head's output, and a model whose logits are not of this form is refused.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from pipeline.models.measured import measured_once
from pipeline.runtime.autograd import once_differentiable

Hidden = Float[Tensor, "tokens width"]
Logits = Float[Tensor, "tokens vocabulary"]

PROBE_TOKENS = 2
PROBE_DECADES = (-4, 6)  # magnitudes put in the place of logits, from far below a cap to above it
EQUAL = 1e-5  # relative: float32 rounds each step of the form above


@dataclass(frozen=True)
class LogitScaling:
    """The scaling of hidden states and logits in a model's forward, around its head."""

    hidden: float = 1.0  # b
    logits: float = 1.0  # s
    cap: float | None = None  # c

    def after_head(self, logits: Float[Tensor, "*tokens vocabulary"]) -> Tensor:
        """Logits as the model's own forward pass gives them."""
        if self.logits != 1:
            logits = logits * self.logits
        return torch.tanh(logits / self.cap) * self.cap if self.cap else logits


class Float32Matmul(torch.autograd.Function):
    """W h and its gradients in float32 from bfloat16 factors, as tensor cores accumulate them.

    A layer under autocast would round each logit to 8 bits: one near 100 to the next half nat.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Hidden, weight: Float[Tensor, "vocabulary width"]) -> Logits:
        """The product; what the gradient needs is kept in bfloat16."""
        left, right = hidden.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(left, right)
        ctx.dtypes = hidden.dtype, weight.dtype
        return _product(left, right.T)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Logits) -> tuple[Tensor | None, Tensor | None]:
        """The gradients of hidden states and weight, where they are needed."""
        (gradient,), (left, right) = gradients, ctx.saved_tensors
        (needs_hidden, needs_weight), gradient = ctx.needs_input_grad, gradient.bfloat16()
        return (
            _product(gradient, right).to(ctx.dtypes[0]) if needs_hidden else None,
            _product(gradient.T, left).to(ctx.dtypes[1]) if needs_weight else None,
        )


def _product(left: Float[Tensor, "rows inner"], right: Float[Tensor, "inner columns"]) -> Tensor:
    """The product of bfloat16 matrices, summed and returned in float32."""
    with torch.autocast(left.device.type, enabled=False):
        if left.is_cuda and torch.version.hip is None:
            return torch.mm(left, right, out_dtype=torch.float32)
        return left.float() @ right.float()


def compute_logits(
    head: torch.nn.Linear, scaling: LogitScaling, hidden: Float[Tensor, "*tokens width"]
) -> Float[Tensor, "*tokens vocabulary"]:
    """Next-token logits of hidden states: in float32 at least, whatever the factors are."""
    if scaling.hidden != 1:
        hidden = hidden * scaling.hidden
    in_bfloat16 = (
        torch.is_autocast_enabled(hidden.device.type) or head.weight.dtype == torch.bfloat16
    )
    if in_bfloat16:
        flat = Float32Matmul.apply(hidden.flatten(0, -2), head.weight)
        logits = flat.unflatten(0, hidden.shape[:-1])
        if head.bias is not None:
            logits = logits + head.bias.float()
    else:
        logits = head(hidden)
    return scaling.after_head(logits)


def logit_scaling(model: PreTrainedModel) -> LogitScaling:
    """A model's scaling, measured by a forward pass at the first call; copies share the result.

    Raises: ValueError if its logits are not of the form in this module's docstring.
    """
    return measured_once(model, "logit_scaling", _measure_scaling)


@contextmanager
def probe_pass(model: PreTrainedModel) -> Iterator[None]:
    """A forward pass over a few tokens without gradient and dropout; autocast for mixed weights."""
    dtypes = {weight.dtype for weight in model.parameters()}
    in_training = [module for module in model.modules() if module.training]
    model.eval()
    with torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16, len(dtypes) > 1):
        yield
    for module in in_training:
        module.training = True


def _measure_scaling(model: PreTrainedModel) -> LogitScaling:
    head, family = model.get_output_embeddings(), model.config.model_type
    if not isinstance(head, torch.nn.Linear):
        raise ValueError(f"the family {family}: its head is {type(head).__name__}, no linear layer")
    with probe_pass(model):
        ids = torch.arange(PROBE_TOKENS, device=model.device)[None]
        body = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        head_input, substitute, logits = _substituted_head(model, head, ids)
    before_head = _factor(body.float(), head_input.float())
    scaling = _fit(substitute, logits.float(), before_head)
    fits = torch.allclose(scaling.after_head(substitute), logits.float(), rtol=EQUAL, atol=0)
    tolerance = EQUAL if head_input.dtype == torch.float32 else torch.finfo(head_input.dtype).eps
    scaled = torch.allclose(before_head * body, head_input, tolerance, tolerance, equal_nan=True)
    if not (fits and scaled):
        raise ValueError(
            f"the family {family} makes its logits of hidden states in a way that is not known "
            "here: they would be wrong; take a model of another family"
        )
    return scaling


def _substituted_head(
    model: PreTrainedModel, head: torch.nn.Linear, ids: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The head's input, what a hook returns in place of its output, and the model's logits."""
    count = PROBE_TOKENS * head.out_features
    magnitudes = torch.logspace(*PROBE_DECADES, count, device=ids.device)
    magnitudes[::2] *= -1
    substitute, inputs = magnitudes.view(1, PROBE_TOKENS, -1), []

    def substitute_output(
        _layer: torch.nn.Module, arguments: tuple[Tensor], _output: Tensor
    ) -> Tensor:
        """The substitute in place of the head's output; the head's input is recorded."""
        inputs.append(arguments[0])
        return substitute.clone()  # some forward passes write into their logits

    hook = head.register_forward_hook(substitute_output)
    try:
        logits = model(input_ids=ids, use_cache=False).logits
    finally:
        hook.remove()
    if len(inputs) != 1 or logits.shape != substitute.shape:
        raise ValueError(f"the family {model.config.model_type}: its head isn't read once a token")
    return inputs[0], substitute, logits


def _factor(x: Tensor, y: Tensor) -> float:
    """The f of y = f x, read off where x is greatest; a factor of one is made exact."""
    x, y = x.flatten(), y.flatten()
    index = x.abs().argmax()
    factor = (y[index] / x[index]).item()
    # weights that are NaN make everything else NaN as well
    return 1.0 if math.isnan(factor) else _without_rounding(factor)


def _without_rounding(factor: float) -> float:
    return 1.0 if abs(factor - 1) < EQUAL else factor


def _fit(substitute: Tensor, logits: Tensor, before_head: float) -> LogitScaling:
    """Scale and cap, if there are such: the slope far below a cap, and the limit of the logits."""
    substitute, logits = substitute.flatten(), logits.flatten()
    smallest, largest = substitute.abs().argmin(), substitute.abs().argmax()
    scale = _without_rounding((logits[smallest] / substitute[smallest]).item())
    limit = logits[largest].abs().item()
    capped = limit < abs(scale) * substitute[largest].abs().item() / 2
    return LogitScaling(before_head, scale, limit if capped else None)
