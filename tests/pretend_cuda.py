"""Tensors that say they are on a GPU and compute on the CPU, for what a GPU would not let pass.

To the code under test they behave as CUDA's do, as far as that can be told without the hardware:

    device      each says `cuda:0`; an operation that mixes it with tensors of the host raises
    autocast    casts by CUDA's own lists (`pretend_autocast`), which differ from the CPU's
    autograd    torch's own
    waits       each one of the host is noted, with its place in the project's source
    capture     a graph repeats the operations that it recorded; what no graph can hold raises
    rounding    logits that the head of a model gives in less than float32 are noted

It does not tell a GPU's arithmetic and speed, which attention kernel is taken, races between
streams, nor memory. `pretend_runtime.pretended` sets it up.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from pretend_ledger import Ledger
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

CUDA = torch.device("cuda:0")
CPU = torch.device("cpu")
LOW = (torch.bfloat16, torch.float16)

# operations whose result, or its shape, depends on numbers that the host must be told
ANSWERS = {
    "_local_scalar_dense": "item",
    "_unique2": "unique",
    "bincount": "bincount",
    "equal": "equal",
    "masked_select": "masked_select",
    "multinomial": "multinomial",
    "nonzero": "nonzero",
    "unique_consecutive": "unique_consecutive",
    "unique_dim": "unique",
    "unique_dim_consecutive": "unique_consecutive",
}
PRODUCTS = {"addmm", "baddbmm", "bmm", "linear", "matmul", "mm"}
READS = {"index", "_unsafe_index"}
WRITES = {"index_put", "index_put_", "_index_put_impl_", "_unsafe_index_put"}
SAME = {
    "_to_copy",
    "alias",
    "clone",
    "detach",
    "permute",
    "t",
    "transpose",
    "view",
}  # numbers, laid out anew


@dataclass(frozen=True)
class Recorded:
    """An operation in a graph, and the tensors that hold its results."""

    operation: Callable[..., Any]
    args: Sequence[Any]
    options: Mapping[str, Any]
    results: Any

    def repeat(self) -> None:
        """The operation on what its inputs hold now."""
        again = self.operation(*self.args, **self.options)
        for old, new in zip(tensors([self.results]), tensors([again]), strict=True):
            if old.data_ptr() != new.data_ptr():
                old.copy_(new)


@dataclass
class Gpu:
    """The pretended GPU: its ledger, and the graph that is being captured."""

    ledger: Ledger = field(default_factory=Ledger)
    recording: list[Recorded] | None = None


GPU = Gpu()


def tensors(values: Iterable[Any]) -> list[Tensor]:
    """The tensors among what an operation is given, or gives."""
    flat: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            flat.append(value)
        elif isinstance(value, list | tuple):
            flat += tensors(value)
    return flat


def each(change: Callable[[Any], Any], value: Any) -> Any:
    """What an operation is given, or gives, with each of its values changed."""
    if isinstance(value, list | tuple):
        return type(value)([each(change, element) for element in value])
    return change(value)


class OnGpu(torch.Tensor):
    """A tensor whose numbers are in `inner`, on the CPU.

    To torch's dispatcher it is one of CUDA's, so that it is autocast as such. To its autograd,
    which knows no GPU where torch was built without, it is on the meta device.
    """

    device = property(lambda _: CUDA)
    is_cuda = property(lambda _: True)
    is_cpu = property(lambda _: False)
    is_meta = property(lambda _: False)
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor, *_: bool) -> "OnGpu":
        shape = torch.empty_strided(inner.size(), inner.stride(), dtype=inner.dtype, device="meta")
        return torch.Tensor._make_subclass(cls, shape, False, device_for_backend_keys=CUDA)

    def __init__(self, inner: Tensor, is_head: bool = False) -> None:
        self.inner = inner
        self.is_head = is_head  # a matrix that makes logits, or a copy of one

    def __repr__(self) -> str:
        return f"OnGpu({self.inner!r})"

    def tolist(self) -> Any:
        """The numbers as the host has them."""
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(
        cls, operation: OpOverload, _: object, args: Sequence[Any] = (), options: Any = None
    ) -> Any:
        return execute(operation, args, options or {})


class Host(TorchDispatchMode):
    """A host with such a GPU: `device="cuda"` makes a tensor that is on it."""

    def __torch_dispatch__(
        self, operation: OpOverload, _: object, args: Sequence[Any] = (), options: Any = None
    ) -> Any:
        return execute(operation, args, options or {})


def execute(operation: OpOverload, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """An operation as CUDA would do it, on the CPU. Raises RuntimeError where it would not."""
    name = operation.overloadpacket.__name__
    inputs = tensors((*args, *options.values()))
    on_gpu = any(isinstance(argument, OnGpu) for argument in inputs)
    goes_to_gpu = _goes_to_gpu(options, on_gpu)
    if on_gpu or goes_to_gpu:
        _refuse_mixed(name, args, inputs)
        for what in _waits(name, args, options, goes_to_gpu):
            GPU.ledger.wait(what)

    widened = name in PRODUCTS and operation._overloadname == "dtype"
    compute = partial(_widened, operation) if widened else operation
    inner_args = each(_inner, args)
    inner_options = {
        name: each(_inner, option) for name, option in _on_host(options, goes_to_gpu).items()
    }
    result = compute(*inner_args, **inner_options)
    if GPU.recording is not None and (on_gpu or goes_to_gpu):
        GPU.recording.append(Recorded(compute, inner_args, inner_options, result))

    if operation._schema.is_mutable:
        owners = {id(_inner(tensor)): tensor for tensor in inputs}
        return each(lambda value: owners.get(id(value), value), result)
    if not goes_to_gpu:
        return _pinned(result) if options.get("pin_memory") else result
    return _on_gpu(name, inputs, result)


def _on_gpu(name: str, inputs: Sequence[Tensor], result: Any) -> Any:
    """What an operation gives, on the GPU; a note where it has made logits of too few digits."""
    is_head = any(isinstance(argument, OnGpu) and argument.is_head for argument in inputs)
    if is_head and name in PRODUCTS and result.dtype in LOW and not _in_backward():
        GPU.ledger.round(name)
    return each(lambda value: _outer(value, is_head and name in SAME), result)


def _goes_to_gpu(options: Mapping[str, Any], on_gpu: bool) -> bool:
    """Whether results are to be on the GPU, which below torch's Python is the meta device."""
    asked = options.get("device")
    if asked is None:
        return on_gpu
    kind = torch.device(asked).type
    return kind == "cuda" or (kind == "meta" and torch.get_default_device().type != "meta")


def _on_host(options: Mapping[str, Any], goes_to_gpu: bool) -> dict[str, Any]:
    host = {name: option for name, option in options.items() if name != "pin_memory"}
    if goes_to_gpu and host.get("device") is not None:
        host["device"] = CPU
    return host


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, OnGpu) else value


def _outer(value: Any, is_head: bool) -> Any:
    return OnGpu(value, is_head) if isinstance(value, Tensor) else value


def _pinned(tensor: Tensor) -> Tensor:
    tensor.pinned = True
    return tensor


def _in_backward() -> bool:
    return torch._C._current_graph_task_id() != -1


def _refuse_mixed(name: str, args: Sequence[Any], inputs: Sequence[Tensor]) -> None:
    """Raises RuntimeError where an operation would find tensors of the host and of the GPU."""
    if name in ("_to_copy", "copy_"):
        return
    if name in READS | WRITES and isinstance(args[0], OnGpu):
        inputs = [args[0], *args[2:3]]  # indices may be the host's: they are copied
    devices = {tensor.device.type for tensor in inputs if tensor.dim() or isinstance(tensor, OnGpu)}
    if len(devices) > 1:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but {name} found {sorted(devices)}"
        )


def _waits(
    name: str, args: Sequence[Any], options: Mapping[str, Any], goes_to_gpu: bool
) -> list[str]:
    """What an operation makes the host wait for."""
    if name == "_to_copy":
        copied = _copy(args[0], goes_to_gpu, bool(options.get("non_blocking")))
        return [copied] if copied else []
    if name == "copy_":
        queued = bool(options.get("non_blocking") or (len(args) > 2 and args[2]))
        copied = _copy(args[1], isinstance(args[0], OnGpu), queued)
        return [copied] if copied else []
    if name == "repeat_interleave":
        return [] if options.get("output_size") else [name]
    if name in READS | WRITES:
        return _indexed(name, args)
    return [ANSWERS[name]] if name in ANSWERS else []


def _copy(source: Tensor, to_gpu: bool, queued: bool) -> str | None:
    if isinstance(source, OnGpu) == to_gpu:
        return None
    if not to_gpu:
        return None if queued else "copy to the host"
    return None if queued and hasattr(source, "pinned") else "copy from the host"


def _indexed(name: str, args: Sequence[Any]) -> list[str]:
    indices = [argument for argument in args[1] if isinstance(argument, Tensor)]
    fills = name in WRITES and args[2].numel() == 1  # a mask that selects nothing
    masks = any(index.dtype in (torch.bool, torch.uint8) for index in indices) and not fills
    of_host = any(not isinstance(index, OnGpu) for index in indices)
    return ["boolean index"] * masks + ["copy of an index from the host"] * of_host


def _widened(operation: OpOverload, *args: Any, **options: Any) -> Tensor:
    """A product of bfloat16 factors in float32, which the CPU's operations do not offer."""
    factors = [argument for argument in args if isinstance(argument, Tensor)]
    wanted = next(argument for argument in args if isinstance(argument, torch.dtype))
    if wanted != torch.float32 or any(factor.dtype not in LOW for factor in factors[-2:]):
        raise RuntimeError(f"out_dtype {wanted} of {[factor.dtype for factor in factors]}")
    cast = [
        argument.to(wanted) if isinstance(argument, Tensor) else argument
        for argument in args
        if argument is not wanted
    ]
    return operation.overloadpacket.default(*cast, **options)
