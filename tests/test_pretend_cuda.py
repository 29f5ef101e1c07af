"""A pretended GPU is like CUDA in what it refuses, casts, waits for, and can hold in a graph."""

from collections.abc import Callable

import pytest
import torch
from players import llama
from pretend_ledger import Ledger
from pretend_runtime import CudaGraph, on_gpu
from torch import Tensor

CUDA = torch.device("cuda")


def recorded() -> torch.cuda.Event:
    """A mark behind the work so far."""
    mark = torch.cuda.Event()
    mark.record()
    return mark


WAITING: dict[str, Callable[[Tensor], object]] = {
    "item": lambda x: x.sum().item(),
    "a condition": lambda x: bool((x > 0).any()),
    "tolist": lambda x: x.tolist(),
    "cpu": lambda x: x.cpu(),
    "nonzero": lambda x: x.nonzero(),
    "a boolean index": lambda x: x[x > 0],
    "unique": lambda x: x.unique(),
    "equal": lambda x: torch.equal(x, x + 1),
    "repeats that the GPU knows": lambda x: x.repeat_interleave(torch.ones_like(x).long()),
    "a number that becomes a tensor": lambda x: x + torch.as_tensor(0.5, device=x.device),
    "a list that becomes a tensor": lambda x: x + torch.tensor([1.0] * len(x), device=x.device),
    "a copy from memory that may move": lambda x: torch.ones(3).to(x.device, non_blocking=True),
    "an index of the host's": lambda x: x[torch.tensor([0])],
    "an event": lambda _: recorded().synchronize(),
}
GOING_ON: dict[str, Callable[[Tensor], object]] = {
    "arithmetic": lambda x: (x * 2).softmax(-1).argmax(-1),
    "a number in arithmetic": lambda x: torch.where(x > 0.5, x, 0.5),
    "a filled tensor": lambda x: torch.full((), 0.5, device=x.device) * x,
    "a mask that is filled": lambda x: x.masked_fill(x > 0, 1.0),
    "a mask that is written to": lambda x: x.clone().__setitem__(x > 0, 1.0),
    "an index of its own": lambda x: x[torch.zeros(2, dtype=torch.long, device=x.device)],
    "a copy from pinned memory": lambda x: (
        torch.ones(3).pin_memory().to(x.device, non_blocking=True)
    ),
    "a copy to pinned memory": lambda x: torch.empty(x.shape, pin_memory=True).copy_(
        x, non_blocking=True
    ),
}


@pytest.mark.parametrize("name", WAITING)
def test_the_host_waits_and_no_graph_can_hold_it(name: str, gpu: Ledger):
    x = torch.linspace(-1, 1, 4, device=CUDA)
    gpu.clear()
    WAITING[name](x)
    assert gpu.waits.total() >= 1
    with (
        pytest.raises(RuntimeError, match="not permitted when stream is capturing"),
        torch.cuda.graph(torch.cuda.CUDAGraph()),
    ):
        WAITING[name](x)
    assert gpu.forbidden


@pytest.mark.parametrize("name", GOING_ON)
def test_the_host_goes_on_and_a_graph_can_hold_it(name: str, gpu: Ledger):
    x = torch.linspace(-1, 1, 4, device=CUDA)
    gpu.clear()
    with torch.cuda.graph(torch.cuda.CUDAGraph()):
        GOING_ON[name](x)
    assert not gpu.waits


@pytest.mark.usefixtures("gpu")
def test_tensors_of_host_and_gpu_do_not_mix():
    x, on_host = torch.ones(3, device=CUDA), torch.ones(3)
    for mix in (
        lambda: x + on_host,
        lambda: torch.cat([x, on_host]),
        lambda: on_host[x.long()],
        lambda: x.gather(0, on_host.long()),
        lambda: torch.nn.functional.linear(x, on_host[None]),
    ):
        with pytest.raises(RuntimeError, match="to be on the same device"):
            mix()
    assert (x + torch.tensor(1.0)).tolist() == [2, 2, 2]  # one number is taken along
    with pytest.raises((RuntimeError, TypeError)):
        x.numpy()


@pytest.mark.usefixtures("gpu")
def test_autocast_follows_the_lists_of_cuda():
    x = torch.ones(2, 2, device=CUDA)
    low, half = torch.bfloat16, torch.ones(2, 2, device=CUDA, dtype=torch.bfloat16)
    with torch.autocast("cuda", dtype=low):
        assert {(x @ x).dtype, torch.linalg.vecdot(x, x).dtype, torch.mm(x, x).dtype} == {low}
        attended = torch.nn.functional.scaled_dot_product_attention(*[x[None, None]] * 3)
        assert attended.dtype == low
        for result in (half.exp(), half.log_softmax(-1), half.sum(), half.logsumexp(-1)):
            assert result.dtype == torch.float32
        assert torch.cat([x, half]).dtype == torch.float32
        assert (half + half).dtype == low
    assert (x @ x).dtype == torch.float32


def test_a_graph_repeats_its_operations_on_what_its_tensors_hold(gpu: Ledger):
    x, total = torch.zeros(3, device=CUDA), torch.zeros(3, device=CUDA)
    asked = []

    def step() -> None:
        asked.append(True)
        total.add_(x[:2].sum() + torch.arange(3, device=CUDA))

    graph = CudaGraph()
    with torch.cuda.graph(graph):
        step()
    total.zero_()
    for value in (1, 2):
        x.fill_(value)
        graph.replay()
    assert total.tolist() == [6, 8, 10]  # 2 + 4, and twice 0, 1, 2
    assert len(asked) == 1
    assert not gpu.forbidden


@pytest.mark.usefixtures("gpu")
def test_gradients_are_those_of_the_cpu():
    ids = torch.arange(8).view(2, 4)
    here, there = llama(3), on_gpu(llama(3))
    for model, own_ids in ((here, ids), (there, ids.to(CUDA))):
        model(own_ids).logits.logsumexp(-1).sum().backward()
    for weight, other in zip(here.parameters(), there.parameters(), strict=True):
        torch.testing.assert_close(other.grad.cpu(), weight.grad)


@pytest.mark.parametrize("tied", [True, False])
def test_rounded_logits_are_noted_and_others_are_not(tied: bool, gpu: Ledger):
    model = llama(3)
    model.config.tie_word_embeddings = tied
    model.tie_weights()
    model, ids = on_gpu(model), torch.arange(8, device=CUDA).view(2, 4)
    assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) == tied
    model(ids).logits.sum().backward()
    assert not gpu.rounded
    with torch.autocast("cuda", dtype=torch.bfloat16):
        hidden = model.base_model(ids).last_hidden_state[0]
        assert not gpu.rounded
        weight = model.get_output_embeddings().weight
        exact = torch.mm(hidden.bfloat16(), weight.bfloat16().T, out_dtype=torch.float32)
        assert exact.dtype == torch.float32
        assert not gpu.rounded
        model(ids)
    assert gpu.rounded.total() == 1
