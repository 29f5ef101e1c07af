"""What a GPU's compiler is given: whole graphs, and few of them, over batches of changing shapes.

The tracer alone is run; generating code takes minutes and changes nothing of this.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from players import CPU, Setup, run, texts
from test_paper_models import family
from torch._dynamo.utils import counters

from pipeline.distill.compiled import prepared
from pipeline.distill.run import Run, State
from pipeline.distill.supply import MicroBatch
from pipeline.distill.training import read, student_hidden, token_losses
from pipeline.methods import METHODS
from pipeline.recipes import decide
from pipeline.texts import Batch, Text, collate

# numbers of texts in a batch, whose padded lengths differ too; one alone is a case of its own
BATCHES = (5, 7, 3, 1, 6)
FAMILIES = ("openllama", "qwen2.5", "gpt2", "opt", "pythia")
LOSS_GRAPHS = 3  # one of the first shape, one of all others; TAID's first step is one more
BODY_GRAPHS = 4  # with gradient and without, of the first shape and of all others


@dataclass
class Tracer:
    """A compiler that takes graphs as they are, and counts them."""

    graphs: int = 0

    def __call__(self, graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        self.graphs += 1
        return graph.forward


@pytest.fixture
def tracer() -> Iterator[Tracer]:
    """A compiler that has seen nothing yet."""
    limit = torch._dynamo.config.recompile_limit
    torch.compiler.reset()
    counters.clear()
    yield Tracer()
    torch.compiler.reset()
    torch._dynamo.config.recompile_limit = limit


def batches() -> Iterator[Batch]:
    """Batches such as training sees one after the other, none like the one before."""
    pool = texts(60)
    for at, count in enumerate(BATCHES):
        yield collate([written(text) for text in pool[5 * at : 5 * at + count]], CPU)


def written(text: Text) -> Text:
    """A text as if the student had written it."""
    return replace(text, author="student", log_probs=[-1.0] * len(text.response_ids))


def distinct() -> Sequence[str]:
    """A method for each loss with its hyperparameters."""
    losses = {}
    for name, one in METHODS.items():
        losses.setdefault((one.loss, repr(decide(name, {}).loss), one.teacher != "none"), name)
    return list(losses.values())


def loss_states(made: Run) -> State:
    """Where a run stands that trains nothing."""
    state = made.loss.initial_state() if hasattr(made.loss, "advance") else {}
    return State(torch.optim.SGD(made.student.parameters()), loss=state)


@pytest.mark.usefixtures("traceable")
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # which torch's tracer looks at
@pytest.mark.parametrize("method", distinct())
def test_a_loss_is_one_graph_whatever_the_batch(method: str, tracer: Tracer):
    made = run(Setup(method, steps=len(BATCHES)))
    fused = prepared(run(Setup(method)), tracer).fused
    state, given = loss_states(made), replace(made, fused=fused)
    for step, batch in enumerate(batches()):
        state.step = step
        one = MicroBatch(batch, made.teacher.forecast(batch) if made.teacher else None)
        hidden = student_hidden(made, batch).detach().requires_grad_()
        token_losses(given, read(made, state, one, hidden, slice(None)), None).sum().backward()
    assert not counters["graph_break"]
    assert 0 < tracer.graphs <= LOSS_GRAPHS


@pytest.mark.usefixtures("traceable")
@pytest.mark.parametrize("name", FAMILIES)
def test_a_body_is_few_graphs_whatever_the_batch(name: str, tracer: Tracer):
    made = run(Setup("sft"))
    made = prepared(replace(made, student=family(name)), tracer)
    for batch in batches():
        student_hidden(made, batch).sum().backward()
        with torch.no_grad():  # validation
            student_hidden(made, batch)
    assert not counters["graph_break"]
    assert 0 < tracer.graphs <= BODY_GRAPHS


@pytest.mark.usefixtures("traceable")
def test_a_graph_that_is_broken_is_counted(tracer: Tracer):
    def broken(x: torch.Tensor) -> torch.Tensor:
        return x + x.sum().item() if x.sum().item() > 0 else x

    torch.compile(broken, backend=tracer)(torch.ones(3))
    assert counters["graph_break"]
    assert tracer.graphs > 1
