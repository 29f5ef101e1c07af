"""CUDA's autocast for tensors that only say they are on a GPU, by the lists of torch's own header.

torch's kernels look for the device below its own Python, where a pretended tensor is on none that
can be autocast; these take their place while a GPU is pretended.
"""

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pretend_cuda import OnGpu, each, tensors
from torch._ops import OpOverload

HEADER = Path(torch.__file__).parent / "include" / "ATen" / "autocast_mode.h"
KEY = "AutocastCUDA"
EXCLUDED = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCUDA)
JOINED = ("cat", "stack")  # promoted too, by torch's source and not by its header


def listed(name: str) -> Iterator[OpOverload]:
    """The operations of a list in the header."""
    (body,) = re.findall(rf"#define {name}\(_\)((?:.*\\\n)+.*)\n", HEADER.read_text())
    for operation, overload in re.findall(r"_\((\w+)(?:, (\w+))?\)", body):
        packet = getattr(torch.ops.aten, operation, None)
        if packet is not None and (overload or "default") in packet.overloads():
            yield getattr(packet, overload or "default")


@contextmanager
def autocasting() -> Iterator[None]:
    """CUDA's autocast also works on pretended tensors; only on those, as there are no others."""
    library = torch.library.Library("aten", "IMPL", KEY)
    kinds = {
        "AT_FORALL_LOWER_PRECISION_FP": _in_low_precision,
        "AT_FORALL_FP32": _in_float32,
        "AT_FORALL_FP32_SET_OPT_DTYPE": _to_float32,
        "AT_FORALL_PROMOTE": _promoted,
    }
    with warnings.catch_warnings(action="ignore"):  # that kernels are replaced
        for name, kind in kinds.items():
            for operation in listed(name):
                library.impl(operation, partial(_excluded, kind, operation))
        for name in JOINED:
            operation = getattr(torch.ops.aten, name).default
            library.impl(operation, partial(_excluded, _promoted, operation))
    try:
        yield
    finally:
        library._destroy()


Kernel = Callable[..., Any]


def _excluded(kind: Kernel, operation: OpOverload, *args: Any, **options: Any) -> Any:
    with torch._C._ExcludeDispatchKeyGuard(EXCLUDED):
        return kind(operation, *args, **options)


def _in_low_precision(operation: OpOverload, *args: Any, **options: Any) -> Any:
    return _cast(operation, torch.get_autocast_dtype("cuda"), args, options)


def _in_float32(operation: OpOverload, *args: Any, **options: Any) -> Any:
    return _cast(operation, torch.float32, args, options)


def _promoted(operation: OpOverload, *args: Any, **options: Any) -> Any:
    dtypes = {tensor.dtype for tensor in tensors(args) if _can_be_cast(tensor)}
    widest = torch.float32 if torch.float32 in dtypes else torch.get_autocast_dtype("cuda")
    return _cast(operation, widest, args, options)


def _to_float32(operation: OpOverload, *args: Any, **options: Any) -> Any:
    """Where the caller names no type of the result, it is float32."""
    names = [argument.name for argument in operation._schema.arguments]
    dtype = options.get("dtype") or dict(zip(names, args, strict=False)).get("dtype")
    if dtype is None and _can_be_cast(args[0]):
        index = names.index("dtype")
        if operation._schema.arguments[index].kwarg_only:
            options = options | {"dtype": torch.float32}
        else:
            args = (*_filled(operation, args, index), torch.float32)
    return operation(*args, **options)


def _filled(operation: OpOverload, args: tuple[Any, ...], count: int) -> tuple[Any, ...]:
    """The first arguments, those that were left out at their defaults."""
    left_out = operation._schema.arguments[len(args) : count]
    return (*args[:count], *(argument.default_value for argument in left_out))


def _cast(operation: OpOverload, dtype: torch.dtype, args: Any, options: Any) -> Any:
    def cast(value: Any) -> Any:
        return value.to(dtype) if _can_be_cast(value) else value

    return operation(*each(cast, args), **options)


def _can_be_cast(value: Any) -> bool:
    on_gpu = isinstance(value, OnGpu) and value.is_floating_point()
    return on_gpu and value.dtype != torch.float64
