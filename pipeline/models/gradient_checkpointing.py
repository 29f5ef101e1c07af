"""Gradient checkpointing: of each layer only the input is kept, and the rest is computed again.

T. Chen, B. Xu, C. Zhang, C. Guestrin, 2016. Training Deep Nets with Sublinear Memory Cost.
arXiv:1604.06174. It takes another forward pass and changes no number. transformers' own is bound to
training mode, which a model without dropout is never in.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer


def checkpointable_layers(model: PreTrainedModel) -> list[GradientCheckpointingLayer]:
    """A model's decoder layers. Raises ValueError for a family that names none."""
    layers = [
        module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)
    ]
    if not layers:
        raise ValueError(
            f"the family {model.config.model_type} names no layers, to be recomputed for want of "
            "memory; take a smaller model or a GPU with more memory"
        )
    return layers


@contextmanager
def gradient_checkpointing(model: PreTrainedModel) -> Iterator[None]:
    """Recomputes the activations of a model's layers in the backward pass."""
    layers = checkpointable_layers(model)
    draws = any(module.training for module in model.modules())
    usual = [layer._compiled_call_impl for layer in layers]
    for layer, compiled in zip(layers, usual, strict=True):
        layer._compiled_call_impl = partial(
            checkpoint,
            compiled or layer._call_impl,
            use_reentrant=False,
            preserve_rng_state=draws,  # the same dropout both times
        )
    try:
        yield
    finally:
        for layer, compiled in zip(layers, usual, strict=True):
            layer._compiled_call_impl = compiled
