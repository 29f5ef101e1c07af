"""What a GPU needs to write fast: a step captured as a whole, and matrices of half the size.

No GPU was at hand when this was written; what can be is tested on a CPU: the step that is captured,
and the matrices.
"""

import copy
from collections.abc import Callable

import torch
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from pipeline.runtime.costs import GRAPH_CAPTURES
from pipeline.runtime.progress import log

WARM_UP = 3  # steps before the capture: libraries allocate, kernels are compiled
VARIANTS = 32  # of a compiled layer: several models, each with one token and with a draft

Step = Callable[[], None]


def capture_cuda_graph(step: Step, compiled: Callable[[bool], None]) -> Step | None:
    """Replays a CUDA graph of `step`, compiled if that can be done; None if it can't be captured.

    It writes into tensors that keep their storage and looks at none. Capturing runs it: with no
    text in the slots that changes nothing but what no text will read.

    Raises: torch.OutOfMemoryError, as the step as it is would not have room either.
    """
    for wanted, name in ((True, "the compiled step"), (False, "the step as it is")):
        try:
            compiled(wanted)
            replay = _graph(step)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:  # what torch raises where it can't compile or capture
            reason = " ".join(str(error).split())
            GRAPH_CAPTURES.reason = f"{name} can't be captured in a CUDA graph: {reason:.300}"
            log(f"writing: {GRAPH_CAPTURES.reason}")
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
    """A model with bfloat16 copies of its matrices, as autocast casts them anew at every token.

    All else is the model's own. `refresh` copies the matrices again after the model has learnt.
    """

    def __init__(self, model: PreTrainedModel):
        shared = [*model.parameters(), *model.buffers()]
        self.model = copy.deepcopy(model, {id(one): one for one in shared})
        self.pairs: list[tuple[torch.Tensor, torch.Tensor]] = []
        for own, other in zip(self.model.modules(), model.modules(), strict=True):
            if isinstance(own, torch.nn.Linear | Conv1D):
                for name, weight in other.named_parameters(recurse=False):
                    half = torch.nn.Parameter(weight.detach().bfloat16(), requires_grad=False)
                    setattr(own, name, half)
                    self.pairs.append((half, weight))

    @torch.no_grad()
    def refresh(self) -> None:
        """Takes over the weights as they are now."""
        for half, weight in self.pairs:
            half.copy_(weight)
