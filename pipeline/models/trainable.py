"""The weights of a model that learn: all of them, or those of adapters beside frozen ones."""

import torch
from torch import Tensor
from transformers import PreTrainedModel


def trainable_weights(model: PreTrainedModel) -> list[torch.nn.Parameter]:
    """The weights that get a gradient."""
    return [weight for weight in model.parameters() if weight.requires_grad]


def learned_state(model: PreTrainedModel) -> dict[str, Tensor]:
    """A model's state dict, without weights that are frozen if there are such."""
    state, weights = model.state_dict(), dict(model.named_parameters())
    if all(weight.requires_grad for weight in weights.values()):
        return state
    return {name: state[name] for name, weight in weights.items() if weight.requires_grad}


def load_learned_state(model: PreTrainedModel, state: dict[str, Tensor]) -> None:
    """Puts back what `learned_state` gave."""
    is_whole = all(weight.requires_grad for weight in model.parameters())
    result = model.load_state_dict(state, strict=is_whole)
    assert not result.unexpected_keys
