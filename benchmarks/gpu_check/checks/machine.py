"""Which attention runs, and what a new batch shape costs.

From cuDNN 9.15 on torch prefers cuDNN's attention on Hopper, which builds a plan for every new
shape, some hundred milliseconds each; batches here have a new shape at every step, so that it is
turned off where the device is chosen. This measures both ways.
"""

import time
from collections.abc import Iterator

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from benchmarks.gpu_check.figures import Figure
from benchmarks.measuring import synchronize
from pipeline.models.language_model import default_device

TITLE = "SDPA back end, and the cost of a new batch shape"
SECONDS = 40
SHAPES = ((8, 131), (7, 173), (9, 211), (6, 251), (5, 307))  # texts, tokens: no two alike
HEADS, WIDTH = 9, 64
NEW_SHAPE_MS = 25.0  # what a compiler-free kernel takes at its first call, with room to spare


def measure(device: torch.device) -> Iterator[Figure]:
    """Milliseconds for the first call of each shape, forward and backward."""
    yield Figure("torch", torch.__version__)
    if device.type != "cuda":
        yield Figure("first call of a shape", _first_calls(device), "ms")
        return
    default_device()  # turns cuDNN's attention off
    yield Figure("compute capability", ".".join(map(str, torch.cuda.get_device_capability())))
    yield Figure("CUDA", str(torch.version.cuda))
    yield Figure("cuDNN", str(torch.backends.cudnn.version()))
    yield Figure(
        "cuDNN's attention is on", str(torch.backends.cuda.cudnn_sdp_enabled()), equals="False"
    )
    _first_calls(device)  # libraries are loaded
    shifted = [(count + 1, length + 8) for count, length in SHAPES]
    yield Figure("first call of a shape", _first_calls(device, shifted), "ms", at_most=NEW_SHAPE_MS)
    torch.backends.cuda.enable_cudnn_sdp(True)
    try:
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            yield Figure("the same with cuDNN's", _first_calls(device, shifted), "ms")
    except RuntimeError as error:
        yield Figure("the same with cuDNN's", "not available", note=str(error).splitlines()[0])


def _first_calls(device: torch.device, shapes: tuple | list = SHAPES) -> float:
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    times = []
    for count, length in shapes:
        q, k, v = (
            torch.randn(count, HEADS, length, WIDTH, device=device, dtype=dtype, requires_grad=True)
            for _ in range(3)
        )
        synchronize(device)
        began = time.perf_counter()
        scaled_dot_product_attention(q, k, v, is_causal=True).sum().backward()
        synchronize(device)
        times.append(1000 * (time.perf_counter() - began))
    return sum(times) / len(times)
