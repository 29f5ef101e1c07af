"""Low-rank adapters: a frozen model with a small trainable part.

E. Hu, Y. Shen, P. Wallis, et al., 2021. LoRA: Low-Rank Adaptation of Large Language Models.
arXiv:2106.09685, section 4.1: a layer gives W x + s B A x, with W frozen and B zero at first, so
that training begins at the model as it was. Where a family keeps queries, keys and values in one
layer, the adapter is on the whole of it.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from pipeline.runtime.transfer import AsyncScalars

# queries and values, as in the paper; then one layer for all three: GPT-2, GPT-NeoX, Phi-3
TARGETS = ("q_proj", "v_proj", "c_attn", "query_key_value", "qkv_proj")


class Adapted(torch.nn.Module):
    """A linear layer with a low-rank term added."""

    def __init__(
        self, layer: torch.nn.Linear | Conv1D, rank: int, scale: float, rng: torch.Generator
    ):
        super().__init__()
        # Conv1D is a linear layer that stores its weight transposed
        weight = layer.weight if isinstance(layer, torch.nn.Linear) else layer.weight.T
        outputs, inputs = weight.shape
        start = torch.randn(rank, inputs, generator=rng, dtype=weight.dtype)
        self.layer = layer
        self.scale = scale
        self.down = torch.nn.Parameter((start / math.sqrt(inputs)).to(weight.device))  # A
        self.up = torch.nn.Parameter(weight.new_zeros(outputs, rank))  # B

    def forward(self, x: Float[Tensor, "... inputs"]) -> Float[Tensor, "... outputs"]:
        """W x + s B A x."""
        low = torch.nn.functional.linear(x, self.down)
        return self.layer(x) + self.scale * torch.nn.functional.linear(low, self.up)


def attach(
    model: torch.nn.Module, rank: int, scale: float, rng: torch.Generator
) -> list[torch.nn.Parameter]:
    """Freezes a model and adds adapters to it; returns the adapters' weights.

    Raises: ValueError if no layer of the model has one of the `TARGETS` as its name.
    """
    layers = [
        (parent, name, layer)
        for parent in model.modules()
        for name, layer in parent.named_children()
        if name in TARGETS and isinstance(layer, torch.nn.Linear | Conv1D)
    ]
    if not layers:
        raise ValueError(f"{type(model).__name__} has no layer named {', '.join(TARGETS)}")

    model.requires_grad_(False)
    adapted = [Adapted(layer, rank, scale, rng) for _, _, layer in layers]
    for (parent, name, _), module in zip(layers, adapted, strict=True):
        setattr(parent, name, module)
    return [weight for module in adapted for weight in (module.down, module.up)]


class LoraOptimizer:
    """A model's adapters and their optimizer: AdamW at a constant rate, without weight decay."""

    def __init__(
        self, model: PreTrainedModel, rank: int, scale: float, learning_rate: float, seed: int
    ):
        rng = torch.Generator().manual_seed(seed)
        self.model = model
        self.weights = attach(model, rank, scale, rng)
        self.adamw = torch.optim.AdamW(self.weights, lr=learning_rate, weight_decay=0.0)
        self.pending: tuple[int, AsyncScalars] | None = None  # is the last gradient finite?

    def step(self, step: int) -> None:
        """A step along the gradients that the adapters hold.

        Raises: ValueError if those of the step before were not finite: a GPU isn't waited for.
        """
        self.check_finite()
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        assert len(gradients) == len(self.weights)
        finite = torch.stack([gradient.isfinite().all() for gradient in gradients]).all()
        self.pending = step, AsyncScalars([finite])
        self.adamw.step()
        self.adamw.zero_grad(set_to_none=True)

    def check_finite(self) -> None:
        """Raises ValueError if the gradients of the last step were not finite."""
        if self.pending is None:
            return
        (step, scalars), self.pending = self.pending, None
        if not scalars.read()[0]:
            raise ValueError(
                f"the teacher's gradient is not finite at step {step + 1}; "
                "a lower adapter_rate may help"
            )

    def state_dict(self) -> dict[str, Any]:
        """Everything that a later process needs to resume. Raises ValueError as `check_finite`."""
        self.check_finite()
        weights = [weight.detach() for weight in self.weights]
        return {"weights": weights, "optimizer": self.adamw.state_dict()}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resumes from a saved state."""
        saved: Sequence[Tensor] = state["weights"]
        for weight, value in zip(self.weights, saved, strict=True):
            weight.copy_(value)
        self.adamw.load_state_dict(state["optimizer"])
