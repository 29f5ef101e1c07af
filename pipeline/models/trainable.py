"""The weights of a model that learn: all of them, or those of adapters beside frozen ones."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from pipeline.models.sharding import is_sharded, reshard, shared_out
from pipeline.runtime.ranks import Ranks


def trainable_weights(model: PreTrainedModel) -> list[torch.nn.Parameter]:
    """The weights that get a gradient."""
    reshard(model)  # or some of a sharded model's were copies, gathered for its last pass
    return [weight for weight in model.parameters() if weight.requires_grad]


def sum_gradients(weights: Sequence[torch.nn.Parameter], ranks: Ranks) -> None:
    """Makes each weight's gradient the sum over all ranks; none where no rank has one.

    Those of a sharded weight were summed on the way to their shares.
    """
    weights = [weight for weight in weights if not isinstance(weight, DTensor)]
    if ranks.size == 1 or not weights:
        return
    # a rank's texts may leave out a part of the model, but not a rank its part of a sum
    counts = torch.tensor([weight.grad is not None for weight in weights], dtype=torch.int32)
    ranks.sum_in_place([counts])
    used = [weight for weight, count in zip(weights, counts.tolist(), strict=True) if count]
    for weight in used:
        weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
    ranks.sum_in_place([weight.grad for weight in used if weight.grad is not None])


def learned_state(model: PreTrainedModel) -> dict[str, Tensor]:
    """A model's state dict, without weights that are frozen if there are such.

    Of a sharded model it has what this rank holds, to be made whole by `whole_state`.
    """
    state = model.state_dict(keep_vars=is_sharded(model))  # tied weights are then one object
    weights = dict(model.named_parameters())
    if all(weight.requires_grad for weight in weights.values()):
        return state
    return {name: state[name] for name, weight in weights.items() if weight.requires_grad}


def load_learned_state(model: PreTrainedModel, state: dict[str, Tensor]) -> None:
    """Puts back what `learned_state` gave; into a sharded model, what the first rank has of it."""
    if is_sharded(model):
        _load_shares(model, state)
        return
    is_whole = all(weight.requires_grad for weight in model.parameters())
    result = model.load_state_dict(state, strict=is_whole)
    assert not result.unexpected_keys


@torch.no_grad()
def _load_shares(model: PreTrainedModel, state: dict[str, Tensor]) -> None:
    reshard(model)
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            assert isinstance(weight, DTensor)
            weight.copy_(shared_out(state.get(name), weight))
