"""Weights sharded over the ranks of a job, for a model that doesn't fit one GPU.

Each rank keeps its share of every weight, of its gradient and of the optimizer's state (S.
Rajbhandari et al., 2020, arXiv:1910.02054, stage 3, as torch's `fully_shard` has it). A unit of
weights is gathered when it is read and dropped again: a decoder layer, and in one unit the rest,
where an embedding may be tied to the head. Passes of a sharded model are collective: every rank
has to make as many.

The head is read outside of the model's own forward, chunk of tokens by chunk. So the unit that it
is in is gathered when the body is called and stays until the body's backward pass has ended, which
adds its gradient up over the ranks, once for all chunks. Gradients are added up after every
micro-batch: if that waited for the last one, each rank would hold all of them until then.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map
from transformers import PreTrainedModel

from pipeline.models.attention import unmasked_context
from pipeline.models.gradient_checkpointing import checkpointable_layers
from pipeline.models.language_model import default_device, fixed_precision
from pipeline.models.logits import logit_scaling, probe_pass
from pipeline.models.matrices import halve_matrices
from pipeline.models.recast import keep_no_copies
from pipeline.runtime.ranks import Ranks, one_at_a_time
from pipeline.settings.training import Precision

State = TypeVar("State")

# entries of a sharded model's __dict__, where modules are no submodules
PLAIN, WRITER, BODY, COMPANY = "_plain", "_writer", "_read_body", "_company"


def mesh_of(ranks: Ranks, device: torch.device) -> DeviceMesh:
    """The devices of all ranks, each of the kind of this one. Collective.

    Raises: ValueError for a job of one rank.
    """
    if ranks.size == 1:
        raise ValueError("--sharded: a job of one rank shares its weights with no other")
    return init_device_mesh(device.type, (ranks.size,))


def load_to_read(
    load_on: Callable[[torch.device, Precision], PreTrainedModel],
    precision: Precision,
    ranks: Ranks,
    *,
    sharded: bool,
) -> PreTrainedModel:
    """A frozen model on this device: whole, or by way of the host in shares on those of all ranks.

    Raises ValueError as `mesh_of`.
    """
    device = default_device()
    if not sharded:
        return load_on(device, precision)
    mesh = mesh_of(ranks, device)
    with one_at_a_time(ranks):
        model = load_on(torch.device("cpu"), fixed_precision(device, precision))
        shard(model, mesh)
    return model


def shard(model: PreTrainedModel, mesh: DeviceMesh) -> None:
    """Leaves of a model's weights a share on each device; forward passes gather them.

    `DistributedConfig` of transformers does the same while it loads, without the head in chunks and
    with gradients that are averaged; adapters and matrices in bfloat16 are only there afterwards.
    """
    logit_scaling(model)  # while it can be measured: it is kept, and so is the other
    unmasked_context(model)
    vars(model)[PLAIN] = _without_storage(model)
    keep_no_copies(model)
    for layer in checkpointable_layers(model):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            # the loss of a step is a sum over ranks: so are its gradients
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    _gather_with_body(model)


def is_sharded(model: torch.nn.Module) -> bool:
    """Whether each rank has but a share of a model's weights."""
    return isinstance(model, FSDPModule)


def _gather_with_body(model: PreTrainedModel) -> None:
    """Makes calls of the body alone gather all units, as calls of the model do."""
    body = model.base_model
    vars(model)[BODY] = body.forward
    register_fsdp_forward_method(model, BODY)
    read: Callable[..., object] = getattr(model, BODY)

    @wraps(body.forward)
    def forward(*arguments: object, **options: object) -> object:
        """The body's pass, with the weights as they are now."""
        if isinstance(ranks := vars(model).get(COMPANY), Ranks):
            ranks.highest(1)
        reshard(model)  # what was gathered for a pass without gradient may be of an earlier step
        return read(*arguments, **options)

    body.forward = forward


@contextmanager
def in_company(model: PreTrainedModel, ranks: Ranks) -> Iterator[None]:
    """Lets each rank make as many passes of a sharded model as its own work takes.

    Before each pass the ranks tell each other that one wants it; one that has come to its end joins
    in with a single token, until none wants any. Without gradient, and for one model at a time.
    """
    if not is_sharded(model):
        yield
        return
    vars(model)[COMPANY] = ranks
    yield
    del vars(model)[COMPANY]
    while ranks.highest(0):
        gather_head(model)


def gather_head(model: PreTrainedModel) -> None:
    """Makes a pass over a token, after which the head of a sharded model can be read."""
    if is_sharded(model):
        token = torch.zeros((1, 1), dtype=torch.long, device=model.device)
        with probe_pass(model):
            model.base_model(input_ids=token, use_cache=False)


def reshard(model: torch.nn.Module) -> None:
    """Drops the gathered weights of a sharded model that no layer drops by itself."""
    if isinstance(model, FSDPModule):
        model.reshard()


def _without_storage(model: PreTrainedModel) -> PreTrainedModel:
    """A copy whose weights have a shape alone."""
    return _with_weights(model, lambda weight: torch.empty_like(weight, device="meta"))


def _with_weights(
    model: PreTrainedModel, weight_of: Callable[[torch.nn.Parameter], Tensor]
) -> PreTrainedModel:
    """A copy with other weights, in each place of a tied one the same."""
    weights = {
        id(weight): torch.nn.Parameter(weight_of(weight), requires_grad=weight.requires_grad)
        for weight in model.parameters()
    }
    return copy.deepcopy(model, weights)


def to_first_rank(model: PreTrainedModel) -> PreTrainedModel:
    """The model, to be saved; of a sharded one a copy, which has weights on the first rank alone.

    They are in main memory. Collective.
    """
    if not is_sharded(model):
        return model
    reshard(model)
    plain: PreTrainedModel = vars(model)[PLAIN]
    pairs = zip(plain.parameters(), model.parameters(), strict=True)
    whole = {id(shape): whole_on_first_rank(weight.detach()) for shape, weight in pairs}
    return _with_weights(plain, lambda shape: shape if (w := whole[id(shape)]) is None else w)


@torch.no_grad()
def writer(model: PreTrainedModel) -> PreTrainedModel:
    """The model, to generate text with; of a sharded one a copy with all weights on each rank.

    Ranks write texts of different lengths, and a sharded model has them wait for each other at each
    token: only one that is read `in_company` writes itself, as there is no room for it whole. The
    copy has its matrices in bfloat16 where they are multiplied in that. Each call brings it up to
    date and is collective; but that of a frozen model is made once.
    """
    if not is_sharded(model) or COMPANY in vars(model):
        return model
    reshard(model)
    is_new = WRITER not in vars(model)
    if is_new:
        plain = _without_storage(vars(model)[PLAIN])
        if model.device.type == "cuda":
            halve_matrices(plain)
        vars(model)[WRITER] = _with_weights(
            plain, lambda shape: torch.empty_like(shape, device=model.device)
        )
    complete: PreTrainedModel = vars(model)[WRITER]
    if not is_new and not any(weight.requires_grad for weight in complete.parameters()):
        return complete
    for target, weight in zip(complete.parameters(), model.parameters(), strict=True):
        assert isinstance(weight, DTensor)
        target.copy_(weight.full_tensor())
    return complete


def whole(value: Tensor) -> Tensor:
    """A tensor; of a sharded one, or of shares to be added up, the whole. Collective."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def whole_on_first_rank(value: Tensor) -> Tensor | None:
    """A sharded tensor in the main memory of the first rank, and None on the others. Collective."""
    if not isinstance(value, DTensor):
        return value
    complete = value.full_tensor()
    return complete.cpu() if value.device_mesh.get_rank() == 0 else None


def whole_state(state: State) -> State:
    """A state with each sharded tensor in it whole on the first rank, None elsewhere. Collective.

    A tensor that is in it twice is so in the result.
    """
    seen: dict[int, Tensor | None] = {}

    def whole_once(leaf: object) -> object:
        """The whole of a leaf, if that is a sharded tensor."""
        if not isinstance(leaf, DTensor):
            return leaf
        if id(leaf) not in seen:
            seen[id(leaf)] = whole_on_first_rank(leaf.detach())
        return seen[id(leaf)]

    return tree_map(whole_once, state)


def shared_out(value: Tensor | None, like: DTensor) -> DTensor:
    """A share on each rank of a tensor that the first one has, sharded like another. Collective."""
    is_first = like.device_mesh.get_rank() == 0
    if value is None or not is_first:
        value = torch.empty(like.shape, dtype=like.dtype)
    value = value.to(like.device, like.dtype)
    return distribute_tensor(value, like.device_mesh, like.placements)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Resumes an optimizer from its whole state, which the first rank needs to have. Collective."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    moments = {
        index: {
            name: shared_out(value, weights[index])
            if isinstance(weights[index], DTensor) and name != "step"
            else value
            for name, value in of_weight.items()
        }
        for index, of_weight in state["state"].items()
    }
    optimizer.load_state_dict(state | {"state": moments})
