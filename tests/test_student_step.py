"""What the training loop does ahead, later, or compiled: it must change no number."""

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from players import Setup, llama, run, trained
from stage_commands import LONG

from pipeline.methods.catalogue import METHODS
from pipeline.methods.method import resolve
from pipeline.models.teacher import LiveTeacher
from pipeline.runtime.costs import Compilation
from pipeline.runtime.diverged import Diverged
from pipeline.training import checkpoint
from pipeline.training.batches import prefetch
from pipeline.training.compile import is_worth_compiling, trial_step, try_compile
from pipeline.training.loop import train
from pipeline.training.metrics import flush_metrics
from pipeline.training.state import initial_state

pytestmark = pytest.mark.slow


def test_items_come_in_order_and_are_made_before_they_are_asked_for() -> None:
    made = [threading.Event() for _ in range(5)]

    def items() -> Iterator[int]:
        for index, event in enumerate(made):
            event.set()
            yield index

    fetched = prefetch(items())
    assert next(fetched) == 0
    assert made[1].wait(LONG)
    assert list(fetched) == [1, 2, 3, 4]


def test_an_error_ahead_is_raised_when_its_turn_comes() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no second one")

    fetched = prefetch(items())
    assert next(fetched) == 1
    with pytest.raises(ValueError, match="no second one"):
        next(fetched)


def test_rows_are_read_when_they_are_wanted() -> None:
    made = run(Setup("sft", steps=3))
    state = initial_state(made)
    steps = train(made, state)
    assert [next(steps), next(steps)] == [1, 2]
    assert [row["step"] for row in state.rows] == [1]
    flush_metrics(state)
    flush_metrics(state)  # once more changes nothing
    assert [row["step"] for row in state.rows] == [1, 2]
    assert list(steps) == [3]
    assert state.rows == trained_rows("sft", state.rows)


def trained_rows(method: str, like: list[dict]) -> list[dict]:
    """Rows of an unbroken run, with the seconds of another."""
    rows = trained(Setup(method, steps=len(like)))[1].rows
    return [row | {"seconds": other["seconds"]} for row, other in zip(rows, like, strict=True)]


@pytest.mark.parametrize("method", ["sft", "gkd"])  # whose numbers are read later, and at once
def test_weights_that_a_loss_has_ruined_are_never_saved(method: str, tmp_path: Path) -> None:
    made = run(Setup(method, steps=6, learning_rate=1e30))
    state = initial_state(made)

    def saving_each_step() -> None:
        for _ in train(made, state):
            checkpoint.save(tmp_path, made, state, "job")

    with pytest.raises(ValueError, match=r"^the .* (nan|inf) at step [2-6], on the batch of "):
        saving_each_step()
    for saved in tmp_path.glob("*/state.pt"):
        weights = torch.load(saved, weights_only=True)["student"].values()
        assert all(weight.isfinite().all() for weight in weights)


@pytest.mark.parametrize("method", ["forward_kl", "okd"])
def test_a_teacher_without_numbers_is_the_one_that_is_blamed(method: str) -> None:
    made = run(Setup(method, steps=2))
    assert isinstance(made.teacher, LiveTeacher)
    broken = llama(5)
    broken.model.layers[0].mlp.up_proj.weight.data[:] = math.nan
    made = replace(made, teacher=LiveTeacher(broken))
    state = initial_state(made)
    with pytest.raises(ValueError, match="the live teacher's logits are not finite at"):
        list(train(made, state))


@pytest.mark.parametrize(("method", "keys"), [("sdft", "rate may"), ("ikd", "adapter_rate may")])
def test_a_teacher_that_follows_its_student_is_not_blamed_for_it(method: str, keys: str) -> None:
    made = run(Setup(method, steps=4, learning_rate=1e30))
    with pytest.raises(Diverged, match=keys):
        list(train(made, initial_state(made)))


def test_a_rate_of_projectors_that_is_too_high_is_named() -> None:
    steep = resolve(METHODS["hidden_mse"], {"projector_rate": 1e30})
    made = run(Setup(steep, steps=3))
    with pytest.raises(Diverged, match="learning_rate or projector_rate may help"):
        list(train(made, initial_state(made)))


@pytest.mark.usefixtures("traceable")
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # which torch's tracer looks at
@pytest.mark.parametrize("method", ["forward_kl", "taid"])
def test_a_compiled_run_differs_in_rounding_alone(method: str, capfd) -> None:
    # as far as the code that a GPU's compiler would be given; generating that takes minutes
    setup = Setup(method, steps=3)
    torch.compiler.reset()
    compiled = try_compile(run(setup), backend="aot_eager")
    assert compiled.compilation == Compilation(True, "layers and loss"), capfd.readouterr().err
    state = initial_state(compiled)
    assert list(train(compiled, state)) == [1, 2, 3]
    for row, expected in zip(state.rows, trained(setup)[1].rows, strict=True):
        assert row["loss_nats"] == pytest.approx(expected["loss_nats"], rel=1e-5)
        assert row["gradient_norm"] == pytest.approx(expected["gradient_norm"], rel=1e-4)
        assert row["flops"] == expected["flops"]  # the trial counts for nothing


@pytest.mark.usefixtures("traceable")
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_a_run_that_can_t_be_compiled_goes_on_and_says_why(capfd) -> None:
    graphs: list[object] = []

    def backend(*_: object) -> None:
        raise RuntimeError("this machine has no compiler")

    def counting(module: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        graphs.append(module)
        return module.forward

    torch.compiler.reset()
    made = try_compile(run(Setup("forward_kl", steps=2)), backend)
    assert made.compiled_loss is None
    assert made.compilation is not None
    assert not made.compilation.succeeded
    assert "this machine has no compiler" in made.compilation.reason
    assert "this machine has no compiler" in capfd.readouterr().err
    state = initial_state(made)
    assert list(train(made, state)) == [1, 2]
    assert state.rows == trained_rows("forward_kl", state.rows)
    # whoever compiles next, such as a writer, can
    double = torch.compile(lambda x: 2 * x, backend=counting)
    assert double(torch.ones(3)).equal(torch.full((3,), 2.0))
    assert len(graphs) == 1


@pytest.mark.usefixtures("traceable")
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_a_lack_of_memory_is_no_fault_of_the_compiler() -> None:
    def backend(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    torch.compiler.reset()
    made = run(Setup("forward_kl", steps=2))
    with pytest.raises(Exception, match="out of memory"):
        try_compile(made, backend)


@pytest.mark.usefixtures("traceable")
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_a_graph_serves_all_layers_batches_and_lengths() -> None:
    graphs: list[int] = []

    def counting(module: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        graphs.append(len(module.graph.nodes))
        return module.forward

    torch.compiler.reset()
    made = run(Setup("forward_kl", steps=12, batch_size=5))
    made = replace(made, student=llama(1, layers=3))
    compiled = try_compile(made, counting)
    # a layer of the student's, one of the teacher's, and the loss
    assert len(graphs) == 3
    state = initial_state(compiled)
    list(train(compiled, state))
    # and one of the student's without gradient, for validation
    assert len(graphs) == 4


@pytest.mark.parametrize("method", [name for name in METHODS if METHODS[name].generates_text])
def test_a_trial_on_drawn_texts_is_a_step_of_any_method_that_writes_and_moves_no_weight(method):
    made = run(Setup(method, steps=2))
    before = [weight.clone() for weight in made.student.parameters()]
    trial_step(made)
    for weight, value in zip(made.student.parameters(), before, strict=True):
        assert torch.equal(weight, value)
        assert weight.grad is not None


def test_few_steps_are_not_worth_a_compiler() -> None:
    # 40 s to compile, half of a step saved
    assert not is_worth_compiling(0.05, 1000)
    assert is_worth_compiling(0.05, 2000)
