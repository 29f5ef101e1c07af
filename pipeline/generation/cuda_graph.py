"""A decoding step captured as one CUDA graph, and bfloat16 copies of the weights that it reads."""

import copy
from collections.abc import Callable

import torch
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from pipeline.runtime.costs import GRAPH_CAPTURES
from pipeline.runtime.progress import log

WARM_UP = 3  # steps before the capture: libraries allocate, kernels are compiled
COMPILED_VARIANTS = 32  # of a layer: several models, each with one token and with a draft

Step = Callable[[], None]


def capture_cuda_graph(step: Step, compile_step: Callable[[bool], None]) -> Step | None:
    """A function that replays a CUDA graph of `step`, or None if it can't be captured.

    The step is compiled if that works. It writes into tensors that keep their storage and reads
    none on the host. Capturing runs it: with all slots free, that changes nothing that a sequence
    will read.

    Raises: torch.OutOfMemoryError, as the eager step would not have the memory either.
    """
    for wanted, name in ((True, "the compiled step"), (False, "the step as it is")):
        try:
            compile_step(wanted)
            replay = _graph(step)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # what torch raises where it can't compile or capture
            reason = " ".join(str(error).split())
            GRAPH_CAPTURES.reason = f"{name} can't be captured in a CUDA graph: {reason:.300}"
            log(f"generation: {GRAPH_CAPTURES.reason}")
        else:
            GRAPH_CAPTURES.compiled += wanted
            GRAPH_CAPTURES.uncompiled += not wanted
            return replay
    GRAPH_CAPTURES.failed += 1
    return None


def _graph(step: Step) -> Step:
    torch.clear_autocast_cache()  # a cast from before the capture would not be done again in it
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


class Bf16Weights:
    """A model whose matrices are bfloat16 copies, which autocast would make at every token.

    All else is shared with the source model. `refresh` copies its current matrices after training
    steps.
    """

    def __init__(self, source: PreTrainedModel):
        shared = [*source.parameters(), *source.buffers()]
        self.model = copy.deepcopy(source, {id(tensor): tensor for tensor in shared})
        self.pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
        for module, original in zip(self.model.modules(), source.modules(), strict=True):
            if isinstance(module, torch.nn.Linear | Conv1D):
                for name, weight in original.named_parameters(recurse=False):
                    half = torch.nn.Parameter(weight.detach().bfloat16(), requires_grad=False)
                    setattr(module, name, half)
                    self.pairs.append((half, weight))

    @torch.no_grad()
    def refresh(self) -> None:
        """Copies the source model's current weights."""
        for half, weight in self.pairs:
            half.copy_(weight)
