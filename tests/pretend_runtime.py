"""What `torch.cuda` says and does while a GPU is pretended: streams, events, graphs, memory."""

from collections.abc import Callable, Iterator, Sequence
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
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel

from pipeline.models.logits import logit_scaling

MEMORY = 80 * 10**9
PROPERTIES = SimpleNamespace(
    total_memory=MEMORY, uuid="0", major=9, minor=0, name="pretended", multi_processor_count=132
)


class Event:
    """A mark in the work of a GPU; annotations take it for torch's, which needs a GPU."""

    __class__ = property(lambda _, kind=torch.cuda.Event: kind)

    def __init__(self, *_: Any, **__: Any) -> None:
        self.has_come = True

    def record(self, *_: Any) -> None:
        """The work so far is meant."""
        self.has_come = False

    def wait(self, *_: Any) -> None:
        """Other work of the GPU is to come behind it."""

    def synchronize(self) -> None:
        """The host waits until it is done, if it has not done so before."""
        if not self.has_come:
            GPU.ledger.wait("event")
        self.has_come = True

    def query(self) -> bool:
        """Whether it is done."""
        return self.has_come


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
        for operation in self.recorded:
            operation.repeat()

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


class Calls(TorchFunctionMode):
    """Calls for which torch would look for a GPU before it asks `Host` what to do."""

    def __torch_function__(
        self, call: Callable[..., Any], _: object, args: Sequence[Any] = (), options: Any = None
    ) -> Any:
        options = options or {}
        if call is Tensor.pin_memory:
            copy = args[0].clone()
            copy.pinned = True
            return copy
        if call is Tensor.to:
            named = {name: _first(option) for name, option in options.items()}
            return call(*map(_first, args), **named)
        if call in (torch.tensor, torch.as_tensor) and _first(options.get("device")) == CUDA:
            made = call(*args, **options | {"device": None})
            return made.to(CUDA)
        return call(*args, **options)


def _first(device: Any) -> Any:
    """The first GPU for "cuda": torch would ask a library which one is meant."""
    named = isinstance(device, str | torch.device) and torch.device(device) == torch.device("cuda")
    return CUDA if named else device


@contextmanager
def pretended() -> Iterator[Ledger]:
    """A GPU is there; gives what it notes. Nothing is compiled meanwhile."""
    GPU.ledger = Ledger()
    with pytest.MonkeyPatch.context() as patch, autocasting(), Calls(), Host():
        for name, value in _cuda().items():
            patch.setattr(torch.cuda, name, value)
        patch.setattr(PreTrainedModel, "to", _moving_models(PreTrainedModel.to))
        patch.setattr(ThreadPoolExecutor, "submit", _submitting(ThreadPoolExecutor.submit))
        swaps = torch.__future__.get_swap_module_params_on_conversion()
        torch.__future__.set_swap_module_params_on_conversion(True)  # tied weights stay tied
        patch.setattr(torch, "compile", lambda function, **_: function)
        yield GPU.ledger
        torch.__future__.set_swap_module_params_on_conversion(swaps)


def on_gpu(model: PreTrainedModel) -> PreTrainedModel:
    """The model, moved to the pretended GPU; what is measured of it once has been."""
    logit_scaling(model)
    return model.to("cuda")


def _moving_models(to: Callable[..., PreTrainedModel]) -> Callable[..., PreTrainedModel]:
    """What is moved knows which of its weights makes logits."""

    def moved(model: PreTrainedModel, *args: Any, **options: Any) -> PreTrainedModel:
        result = to(model, *args, **options)
        head = result.get_output_embeddings()
        if head is not None and isinstance(head.weight, OnGpu):
            head.weight.is_head = True
        return result

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


def _submitting(submit: Callable[..., Future]) -> Callable[..., Future]:
    """Threads find the GPU too."""

    def with_gpu(pool: ThreadPoolExecutor, work: Callable, *args: Any, **options: Any) -> Future:
        def done() -> Any:
            with Calls(), Host():
                return work(*args, **options)

        return submit(pool, done)

    return with_gpu
