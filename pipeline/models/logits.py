"""From hidden states to logits: one product in float32, then what a model's family does with it.

Between the body and the logits a family may scale hidden states (MiniCPM3) or logits (Granite
divides, HyperCLOVA X multiplies by a number of the same name, Cohere, Falcon-H1), and cap them
(Gemma, RecurrentGemma, xLSTM, each under a name of its own):

    logits = c tanh(s (W (b h) + bias) / c)        s, b = 1 and no cap c for most

Which numbers a model's own forward pass uses is measured: it is run with other values in the place
of what its head gives, and one whose logits are not of this form is refused.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from transformers import PreTrainedModel

from pipeline.models.probing import probing

Hidden = Float[Tensor, "tokens width"]
Logits = Float[Tensor, "tokens vocabulary"]

PROBED_TOKENS = 2
PROBED_DECADES = (-4, 6)  # magnitudes put in the place of logits, from far below a cap to above it
SAME = 1e-5  # relative: float32 rounds each step of the form above


@dataclass(frozen=True)
class LogitScaling:
    """What stands between hidden states and logits beside the head."""

    hidden: float = 1.0  # b
    logits: float = 1.0  # s
    cap: float | None = None  # c

    def after_head(self, logits: Float[Tensor, "*tokens vocabulary"]) -> Tensor:
        """Logits as the model's own forward pass gives them."""
        if self.logits != 1:
            logits = logits * self.logits
        return torch.tanh(logits / self.cap) * self.cap if self.cap else logits


class Float32Matmul(torch.autograd.Function):
    """W h in float32 from factors in bfloat16, as matrix units accumulate it; so its gradients.

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
    def backward(ctx: Any, gradient: Logits) -> tuple[Tensor | None, Tensor | None]:
        """The gradients of hidden states and weight, where they are wanted."""
        left, right = ctx.saved_tensors
        (of_hidden, of_weight), gradient = ctx.needs_input_grad, gradient.bfloat16()
        return (
            _product(gradient, right).to(ctx.dtypes[0]) if of_hidden else None,
            _product(gradient.T, left).to(ctx.dtypes[1]) if of_weight else None,
        )


def _product(left: Float[Tensor, "rows inner"], right: Float[Tensor, "inner columns"]) -> Tensor:
    """Of matrices in bfloat16, summed and given in float32."""
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
    halved = torch.is_autocast_enabled(hidden.device.type) or head.weight.dtype == torch.bfloat16
    if halved:
        flat = Float32Matmul.apply(hidden.flatten(0, -2), head.weight)
        logits = flat.unflatten(0, hidden.shape[:-1])
        if head.bias is not None:
            logits = logits + head.bias.float()
    else:
        logits = head(hidden)
    return scaling.after_head(logits)


def logit_scaling(model: PreTrainedModel) -> LogitScaling:
    """A model's scaling, measured when it is first asked for; copies of the model have it too.

    Raises: ValueError if its logits are not of the form that this module reads.
    """
    held = vars(model)
    if "logit_scaling" not in held:
        held["logit_scaling"] = _measured(model)
    return held["logit_scaling"]


def _measured(model: PreTrainedModel) -> LogitScaling:
    head, family = model.get_output_embeddings(), model.config.model_type
    if not isinstance(head, torch.nn.Linear):
        raise ValueError(f"the family {family}: its head is {type(head).__name__}, no linear layer")
    with probing(model):
        ids = torch.arange(PROBED_TOKENS, device=model.device)[None]
        body = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        read, given, found = _probed(model, head, ids)
    before = _factor(body.float(), read.float())
    scaling = _fitted(given, found.float(), before)
    same = torch.allclose(scaling.after_head(given), found.float(), rtol=SAME, atol=0)
    tolerance = SAME if read.dtype == torch.float32 else torch.finfo(read.dtype).eps
    near = torch.allclose(before * body, read, tolerance, tolerance, equal_nan=True)
    if not (same and near):
        raise ValueError(
            f"the family {family} makes its logits of hidden states in a way that is not known "
            "here: they would be wrong; take a model of another family"
        )
    return scaling


def _probed(
    model: PreTrainedModel, head: torch.nn.Linear, ids: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """What the head is given to read, what is put in the place of its result, and the logits."""
    count = PROBED_TOKENS * head.out_features
    sizes = torch.logspace(*PROBED_DECADES, count, device=ids.device)
    sizes[::2] *= -1
    given, read = sizes.view(1, PROBED_TOKENS, -1), []

    def replaced(_layer: torch.nn.Module, inputs: tuple[Tensor], _result: Tensor) -> Tensor:
        read.append(inputs[0])
        return given.clone()  # some forward passes write into their logits

    hook = head.register_forward_hook(replaced)
    try:
        found = model(input_ids=ids, use_cache=False).logits
    finally:
        hook.remove()
    if len(read) != 1 or found.shape != given.shape:
        raise ValueError(f"the family {model.config.model_type}: its head isn't read once a token")
    return read[0], given, found


def _factor(x: Tensor, y: Tensor) -> float:
    """The f of y = f x, read off where x is greatest; rounding is taken out of a factor of one."""
    x, y = x.flatten(), y.flatten()
    at = x.abs().argmax()
    factor = (y[at] / x[at]).item()
    # of a model whose weights are not numbers, neither is anything that follows
    return 1.0 if math.isnan(factor) else _without_rounding(factor)


def _without_rounding(factor: float) -> float:
    return 1.0 if abs(factor - 1) < SAME else factor


def _fitted(given: Tensor, found: Tensor, before: float) -> LogitScaling:
    """Scale and cap, if there are such: the slope far below a cap, and where logits end."""
    given, found = given.flatten(), found.flatten()
    smallest, largest = given.abs().argmin(), given.abs().argmax()
    scale = _without_rounding((found[smallest] / given[smallest]).item())
    most = found[largest].abs().item()
    capped = most < abs(scale) * given[largest].abs().item() / 2
    return LogitScaling(before, scale, most if capped else None)
