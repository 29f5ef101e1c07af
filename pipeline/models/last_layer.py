"""The last layer's feed-forward network, applied only to the tokens whose states are read.

Of a prompt and its response a loss reads the states at the response's tokens alone. Attention needs
the other tokens, and so do all feed-forward networks but the last, whose output at a token nothing
else reads. A shallow model on a CPU spends a fifth of its forward pass there. The states that are
read stay as they are, to the bit where a matrix product gives a row the same bits in any company.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Int
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from torch.nn import Module
from transformers import PreTrainedModel

from pipeline.models.layer_selection import layer_lists
from pipeline.models.logits import probe_pass
from pipeline.models.measured import measured_once
from pipeline.models.products import is_read_only_on_cpu

PROBE_SHAPE, READ = (2, 5), (1, 3, 4, 8)  # tokens of a probe, and the flat positions that are read
EQUAL = 1e-5  # relative to the largest state: float32 rounds sums in another order


@contextmanager
def feed_forward_only_at(
    model: PreTrainedModel, positions: Int[Tensor, " tokens"]
) -> Iterator[None]:
    """Skips the last feed-forward network at all but these places of a flat batch.

    On a CPU, of models that don't learn, and where that leaves the states at these places as they
    are, but for rounding. A student's are those of its pass for the gradient, to the bit: a loss
    that ranks its tokens over a step compares both.
    """
    network = separable_network(model) if is_read_only_on_cpu(model) else None
    if network is None:
        yield
        return
    with _only_at(network, positions):
        yield


@contextmanager
def _only_at(network: Module, positions: Int[Tensor, " tokens"]) -> Iterator[None]:
    shapes: list[torch.Size] = []

    def select(_network: Module, arguments: tuple[Tensor]) -> Tensor:
        """The hidden states at the positions, a row each."""
        shapes.append(arguments[0].shape)
        return arguments[0].flatten(0, -2).index_select(0, positions)

    def restore(_network: Module, _arguments: tuple[Tensor], output: Tensor) -> Tensor:
        """The output in its places, with zeros in all others."""
        shape = shapes.pop()
        whole = output.new_zeros(shape.numel() // shape[-1], output.shape[-1])
        return whole.index_copy_(0, positions, output).view(*shape[:-1], -1)

    hooks = [network.register_forward_pre_hook(select), network.register_forward_hook(restore)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def separable_network(model: PreTrainedModel) -> Module | None:
    """The last layer's feed-forward network, if it treats each token by itself, in one tensor.

    Measured by two forward passes at the first call; copies of the model share the result.
    """
    is_separable = measured_once(model, "has_separable_network", _has_separable_network)
    return _last_network(model) if is_separable else None


def _last_network(model: PreTrainedModel) -> Module | None:
    layers = next(iter(layer_lists(model).values()), None)
    # hooks within a compiled layer would be compiled into it, and passes of a sharded one, of which
    # the first call measures two, are those of all ranks
    if layers is None or isinstance(layers[-1], FSDPModule):
        return None
    is_compiled = layers[-1]._compiled_call_impl is not None
    return None if is_compiled else dict(layers[-1].named_children()).get("mlp")


def _has_separable_network(model: PreTrainedModel) -> bool:
    if (network := _last_network(model)) is None:
        return False
    ids = torch.arange(torch.Size(PROBE_SHAPE).numel()).view(PROBE_SHAPE) % model.config.vocab_size
    read = torch.tensor(READ)
    with probe_pass(model):
        expected = _states_at(model, ids, read)
        try:
            with _only_at(network, read):
                states = _states_at(model, ids, read)
        except Exception:  # whatever a family's code raises: its network takes or gives no rows
            return False
    return bool((states - expected).abs().max() <= EQUAL * expected.abs().max())


def _states_at(model: PreTrainedModel, ids: Tensor, positions: Tensor) -> Tensor:
    body = model.base_model(input_ids=ids, use_cache=False)
    return body.last_hidden_state.flatten(0, 1)[positions]
