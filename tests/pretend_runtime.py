"""What `torch.cuda` says and does while a GPU is pretended: streams, events, graphs, memory."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pretend_autocast import autocasting
from pretend_cuda import CUDA, GPU, Host, OnGpu, Recorded
from pretend_ledger import Ledger
from torch import Tensor
from transformers import PreTrainedModel

MEMORY = 80 * 10**9
PROPERTIES = SimpleNamespace(
    total_memory=MEMORY, uuid="0", major=9, minor=0, name="pretended", multi_processor_count=132
)


class Event:
    """A mark in the work of a GPU."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def record(self, *_: Any) -> None:
        """The work so far is meant."""

    def wait(self, *_: Any) -> None:
        """Other work of the GPU is to come behind it."""

    def synchronize(self) -> None:
        """The host waits until it is done."""
        GPU.ledger.wait("event")

    def query(self) -> bool:
        """Whether it is done."""
        return True


class Stream:
    """A queue of a GPU's work."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def wait_stream(self, _: "Stream") -> None:
        """What comes here waits for what is there."""

    def synchronize(self) -> None:
        """The host waits until all is done."""
        GPU.ledger.wait("stream")


class CudaGraph:
    """The operations of a capture, to be repeated without the Python that asked for them."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.recorded: list[Recorded] = []

    def replay(self) -> None:
        """All of them, on what their tensors hold now."""
        for one in self.recorded:
            one.repeat()

    def pool(self) -> tuple[int, int]:
        """The memory that it keeps."""
        return (0, 0)


@contextmanager
def capturing(graph: CudaGraph, *_: Any, **__: Any) -> Iterator[None]:
    """Records what is done meanwhile."""
    GPU.recording, GPU.ledger.capturing = graph.recorded, True
    try:
        yield
    finally:
        GPU.recording, GPU.ledger.capturing = None, False


@contextmanager
def pretended() -> Iterator[Ledger]:
    """A GPU is there; gives what it notes. Nothing is compiled meanwhile."""
    GPU.ledger = Ledger()
    with pytest.MonkeyPatch.context() as patch, autocasting(), Host():
        for name, value in _cuda().items():
            patch.setattr(torch.cuda, name, value)
        patch.setattr(Tensor, "pin_memory", _pin_memory)
        patch.setattr(Tensor, "to", _numbered(Tensor.to))
        for name in ("tensor", "as_tensor"):
            patch.setattr(torch, name, _then_copied(getattr(torch, name)))
        patch.setattr(ThreadPoolExecutor, "submit", _submitting(ThreadPoolExecutor.submit))
        swaps = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(True)  # tied weights stay tied
        patch.setattr(torch, "compile", lambda function, **_: function)
        yield GPU.ledger
        torch.__future__.set_swap_module_params_on_conversion(swaps)


def on_gpu(model: PreTrainedModel) -> PreTrainedModel:
    """The model with its weights on the pretended GPU, which knows what makes its logits."""
    moved = model.to("cuda")
    weight = moved.get_output_embeddings().weight
    assert isinstance(weight, OnGpu)
    weight.is_head = True
    return moved


def _cuda() -> dict[str, Any]:
    """What of `torch.cuda` is replaced."""
    return {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "is_bf16_supported": lambda *_, **__: True,
        "is_current_stream_capturing": lambda: GPU.ledger.capturing,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "get_device_properties": lambda *_: PROPERTIES,
        "get_device_capability": lambda *_: (9, 0),
        "get_device_name": lambda *_: "pretended",
        "max_memory_allocated": lambda *_: 0,
        "memory_allocated": lambda *_: 0,
        "memory_reserved": lambda *_: 0,
        "mem_get_info": lambda *_: (MEMORY, MEMORY),
        "reset_peak_memory_stats": lambda *_: None,
        "empty_cache": lambda: None,
        "synchronize": lambda *_: GPU.ledger.wait("synchronize"),
        "current_stream": lambda *_: Stream(),
        "stream": lambda *_: nullcontext(),
        "Stream": Stream,
        "Event": Event,
        "CUDAGraph": CudaGraph,
        "graph": capturing,
    }


def _pin_memory(tensor: Tensor, *_: Any) -> Tensor:
    copy = tensor.clone()
    copy.pinned = True
    return copy


def _numbered(to: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """To "cuda" is to its first device: torch would ask a library which one it is."""

    def moved(tensor: Tensor, *args: Any, **options: Any) -> Tensor:
        return to(
            tensor, *map(_first, args), **{name: _first(one) for name, one in options.items()}
        )

    return moved


def _first(value: Any) -> Any:
    named = isinstance(value, str | torch.device) and torch.device(value) == torch.device("cuda")
    return CUDA if named else value


def _then_copied(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A tensor of Python's numbers is made on the host, and copied from there."""

    def made(
        data: object,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        **options: bool,
    ) -> Tensor:
        if isinstance(data, OnGpu):
            return data if dtype in (None, data.dtype) else data.to(dtype)
        found = make(data, dtype=dtype, **options)
        return found if device is None else found.to(device)

    return made


def _submitting(submit: Callable[..., Future]) -> Callable[..., Future]:
    """Threads find the GPU too."""

    def with_gpu(pool: ThreadPoolExecutor, work: Callable, *args: Any, **options: Any) -> Future:
        def done() -> Any:
            with Host():
                return work(*args, **options)

        return submit(pool, done)

    return with_gpu
