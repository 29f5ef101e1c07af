"""The graphs that a GPU's compiler is given for each loss and body. `python tests/graph_counts.py`.

In a process of its own: checks of annotations would be traced too. Only the tracer is run, as
generating code takes minutes and changes nothing of this.
"""

import json
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from players import CPU, Setup, run, texts
from test_paper_models import family
from torch._dynamo.utils import counters

from pipeline.data.batch import Batch, Text, collate
from pipeline.losses import initial_state
from pipeline.methods.catalogue import METHODS
from pipeline.methods.method import resolve
from pipeline.models.dropout import training_mode
from pipeline.models.lora import attach
from pipeline.settings.training import Lora, Training
from pipeline.training.batches import GroundTruth, MicroBatch, StepBatch
from pipeline.training.compile import with_compiled_functions
from pipeline.training.loop import student_hidden, train_step
from pipeline.training.state import TrainingRun, TrainingState

# numbers of texts in a batch, whose padded lengths differ too; one alone is a case of its own
BATCHES = (5, 7, 3, 1, 6)
FAMILIES = ("openllama", "qwen2.5", "gpt2", "opt", "pythia")
LORA = "openllama with adapters"
DROPOUT = {"gpt2": 0.1, "opt": 0.1}  # their own; the others are trained without


@dataclass
class Tracer:
    """A compiler that takes graphs as they are, and counts them."""

    graphs: int = 0

    def __call__(self, graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        self.graphs += 1
        return graph.forward

    def counts(self) -> dict[str, object]:
        """The graphs, and why there was more than one at a time."""
        breaks = [reason.splitlines()[0] for reason in counters["graph_break"]]
        return {"graphs": self.graphs, "breaks": breaks}


def fresh() -> Tracer:
    """A compiler that has seen nothing yet."""
    torch.compiler.reset()
    counters.clear()
    return Tracer()


def batches() -> Iterator[Batch]:
    """Batches such as training sees one after the other, none like the one before."""
    pool = 2 * texts(20)  # those of a run
    for index, count in enumerate(BATCHES):
        yield collate([_written(text) for text in pool[5 * index : 5 * index + count]], CPU)


def _written(text: Text) -> Text:
    log_probs = [-1.0] * len(text.response_ids)
    return replace(text, author="student", log_probs=log_probs, advantage=1.0, solution=[0])


def methods() -> list[str]:
    """A method for each loss with its hyperparameters."""
    names: dict[tuple[str, str], str] = {}
    for name, method in METHODS.items():
        names.setdefault((method.loss, repr(resolve(method, {}).loss_settings)), name)
    return list(names.values())


def of_loss(method: str) -> dict[str, object]:
    """The graphs of a method's loss over all batches, with backward passes."""
    tracer, made = fresh(), run(Setup(method))
    compiled_loss = with_compiled_functions(run(Setup(method)), tracer).compiled_loss
    state, compiled = _state(made), replace(made, compiled_loss=compiled_loss)
    for step, batch in enumerate(batches()):
        state.step = step
        distributions = made.teacher.distributions(batch) if made.teacher else None
        step_batch = StepBatch(
            batch.texts, [MicroBatch(batch, distributions or GroundTruth(batch.next_ids))], []
        )
        train_step(compiled, state, step_batch)
    return tracer.counts()


def _state(made: TrainingRun) -> TrainingState:
    no_weights = torch.optim.SGD([torch.zeros(())])  # those of the student stay as they are
    return TrainingState(no_weights, loss=initial_state(made.loss))


def of_body(name: str) -> dict[str, object]:
    """The graphs of a family's layers over all batches, as in training and in validation."""
    tracer, student = fresh(), family(name.split()[0])
    training = Training(steps=1, dropout=DROPOUT.get(name, 0.0))
    if name == LORA:
        training = Training(steps=1, lora=Lora(targets="all-linear"))
        attach(student, Lora(targets="all-linear"), seed=0)
    made = with_compiled_functions(replace(run(Setup("sft")), student=student), tracer)
    for batch in batches():
        with training_mode(made.student, training):
            student_hidden(made, batch).sum().backward()
        with torch.no_grad():
            student_hidden(made, batch)
    return tracer.counts()


def of_a_broken_function() -> dict[str, object]:
    """The graphs of a function that asks for a number half-way."""

    def broken(x: torch.Tensor) -> torch.Tensor:
        return x.exp() if x.sum().item() > 0 else x

    tracer = fresh()
    torch.compile(broken, backend=tracer)(torch.ones(3))
    return tracer.counts()


def main() -> None:
    """Prints all of them as JSON."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # the tracer looks at what torch warns of
    counts = {f"loss {name}": of_loss(name) for name in methods()}
    counts |= {f"body {name}": of_body(name) for name in (*FAMILIES, LORA)}
    json.dump(counts | {"broken": of_a_broken_function()}, sys.stdout)


if __name__ == "__main__":
    main()
