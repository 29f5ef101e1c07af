"""What jobs say that they took: tokens against an independent count, and over kills."""

import sys
from collections import Counter
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from players import Setup, run, trained

from pipeline.artifacts import artifact
from pipeline.models.attention import unmasked_context
from pipeline.models.last_layer import separable_network
from pipeline.models.logits import logit_scaling
from pipeline.models.teacher import LiveTeacher
from pipeline.runtime import costs
from pipeline.runtime.costs import Compilation, Cost, GraphCaptures, JobCost, ModelCounter
from pipeline.runtime.meter import Stopwatch, joules_of
from pipeline.stages.train import cost
from pipeline.training import checkpoint
from pipeline.training.loop import train
from pipeline.training.state import TrainingRun, initial_state

STEPS = 4
# Of everything that the teacher learns or decides: fixed text, its own, interleaved, learning too
METHODS = ("sft", "reverse_kl", "gkd", "skd", "switch", "minillm", "okd", "ikd", "distillm2")


def setup(method: str, batch_size: int = 1) -> Setup:
    return Setup(method, steps=STEPS, batch_size=batch_size)


def watched(model: Any) -> Counter[str]:
    """How many positions a model reads and how many distributions it gives, by its own layers.

    Without padding it is exact, so it needs one text at a time.
    """
    seen: Counter[str] = Counter()
    for measure in (logit_scaling, unmasked_context, separable_network):
        measure(model)  # the model is read for it, which is no job's work

    def read(_module: Any, _inputs: Any, output: torch.Tensor) -> None:
        seen["positions"] += output.shape[:-1].numel()

    def score(_module: Any, _inputs: Any, output: torch.Tensor) -> None:
        seen["scored"] += output.shape[:-1].numel()

    model.get_input_embeddings().register_forward_hook(read)
    model.get_output_embeddings().register_forward_hook(score)
    return seen


def run_through(made: TrainingRun) -> JobCost:
    state = initial_state(made)
    for _ in train(made, state):
        pass
    return cost(made, state)


# distillm2 answers all prompts at once, with padding
@pytest.mark.parametrize("method", [name for name in METHODS if name != "distillm2"])
def test_what_the_models_read_and_score_is_what_their_layers_see(method: str) -> None:
    made = run(setup(method))
    student = watched(made.student)
    live = isinstance(made.teacher, LiveTeacher)
    teacher = watched(made.teacher.model) if live else Counter()
    reference = watched(made.reference.model) if made.reference else Counter()
    took = run_through(replace(made, max_tokens=1))  # for texts of validation too one at a time
    assert (student["positions"], student["scored"]) == (
        took.cost.student_positions,
        took.cost.student_tokens,
    )
    beside = teacher + reference
    assert (beside["positions"], beside["scored"]) == (
        took.cost.teacher_positions,
        took.cost.teacher_tokens,
    )
    assert live == (took.cost.teacher_tokens > 0)


@pytest.mark.parametrize("method", METHODS)
def test_tokens_are_the_sums_of_the_steps(method: str) -> None:
    made, state = trained(setup(method, batch_size=6))
    took, rows = cost(made, state), state.rows
    assert took.cost.trained_tokens == sum(row["response_tokens"] or 0 for row in rows)
    written = took.cost.student_generated_tokens + took.cost.teacher_generated_tokens
    if method != "distillm2":  # it answers all prompts of an epoch, which this run doesn't end
        assert written == sum(row["generated_tokens"] or 0 for row in rows)
    by_teacher = sum((row["teacher_share"] or 0) * (row["generated_tokens"] or 0) for row in rows)
    assert took.cost.teacher_generated_tokens == pytest.approx(by_teacher)
    assert took.cost.flops == rows[-1]["flops"]


def test_an_interleaved_teacher_is_asked_as_text_is_written_and_again_as_it_is_trained_on() -> None:
    for method, gold in (("skd", 0.0), ("minillm", 0.0), ("switch", 0.5)):
        # a step in several micro-batches would be read once more for a loss over whole steps
        took = run_through(replace(run(setup(method, batch_size=6)), max_tokens=10_000))
        written = took.cost.student_generated_tokens + took.cost.teacher_generated_tokens
        assert took.cost.teacher_tokens == took.cost.trained_tokens + written
        assert (written == took.cost.trained_tokens) == (gold == 0)


def test_a_reference_model_reads_what_the_teacher_reads() -> None:
    without, beside = (run_through(run(setup(method))).cost for method in ("opd", "exopd"))
    assert without.teacher_tokens == without.trained_tokens
    assert beside.teacher_tokens == 2 * beside.trained_tokens


def test_a_teacher_that_learns_reads_the_text_once_more() -> None:
    for method in ("okd", "ikd"):
        made, state = trained(setup(method, batch_size=6))
        took = cost(made, state)
        assert took.cost.teacher_tokens == 2 * took.cost.trained_tokens
        assert took.cost.teacher_generated_tokens == 0


def test_a_student_with_a_cache_or_no_teacher_has_no_teacher_of_its_own() -> None:
    made, state = trained(setup("sft"))
    took = cost(made, state)
    assert (
        took.cost.teacher_positions,
        took.cost.teacher_tokens,
        took.cost.teacher_generated_tokens,
    ) == (0, 0, 0)
    # it learns whole: three times what reading takes, but for the validation
    assert took.cost.trained_positions < took.cost.student_positions


@pytest.mark.parametrize("method", ["gkd", "switch", "ikd", "distillm2"])
def test_a_killed_and_resumed_job_took_what_an_unbroken_one_took(
    method: str, tmp_path: Path
) -> None:
    unbroken = cost(*trained(setup(method, batch_size=6)))
    killed = run(setup(method, batch_size=6))
    state = initial_state(killed)
    list(islice(train(killed, state), 2))
    checkpoint.save(tmp_path, killed, state, "job")

    resumed = run(setup(method, batch_size=6))
    state = initial_state(resumed)
    before = state.usage
    assert checkpoint.resume(tmp_path, resumed, state, "job")
    assert state.usage.seconds > before.seconds
    for _ in train(resumed, state):
        pass
    took = cost(resumed, state)
    # time, energy and memory differ from run to run; all else is counted
    assert replace(took, cost=replace(took.cost, **measured(unbroken.cost))) == unbroken


def measured(spent: Cost) -> dict[str, float | None]:
    """The part of a cost that comes from clocks and meters."""
    names = ("seconds", "device_seconds", "energy_joules", *costs.PEAKS)
    return {name: value for name, value in asdict(spent).items() if name in names}


def test_costs_add_up_and_keep_the_higher_peak() -> None:
    first = Cost(seconds=2.0, energy_joules=40.0, host_memory_bytes=100, flops=10**19)
    later = Cost(seconds=1.0, energy_joules=2.0, host_memory_bytes=80, device_memory_bytes=7)
    # more FLOPs than 53 bits hold stay exact
    total = Cost(3.0, 0.0, 100, 7, 42.0, flops=10**19 + 3)
    assert first + later + Cost(flops=3) == total
    assert (first + Cost(energy_joules=None)).energy_joules is None
    assert (first + Cost(flops=None)).flops is None


def test_a_share_of_a_cost_has_a_share_of_everything_but_memory() -> None:
    whole = Cost(4.0, 8.0, 100, 50, None, trained_tokens=6, flops=10)
    assert whole * 0.5 == Cost(2.0, 4.0, 100, 50, None, trained_tokens=3, flops=5)


def test_a_stopwatch_counts_the_cores_that_worked() -> None:
    watch = Stopwatch(torch.device("cpu"))
    matrix = torch.randn(400, 400)
    for _ in range(20):
        matrix = matrix @ matrix / 400
    busy = watch.cost()
    assert busy.device_seconds > 0
    assert busy.seconds > 0
    assert busy.host_memory_bytes > 10_000_000  # torch alone takes more
    assert busy.device_memory_bytes is None
    assert busy.energy_joules is None  # NVML knows GPUs alone


def test_a_gpu_whose_driver_has_no_nvml_costs_no_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pynvml.py").write_text(
        "class NVMLError(Exception): pass\n"
        "def nvmlInit(): raise NVMLError('NVML Shared Library Not Found')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    assert joules_of(torch.device("cuda")) is None
    sys.modules.pop("pynvml")


def test_a_cost_is_read_as_it_was_written_and_refused_in_part(tmp_path: Path) -> None:
    student, teacher = ModelCounter(9, 8, 7, 6, 10**19), ModelCounter(5, 0, 4, 3, 2)
    cost = Cost(1.5, 2.5, 10, None, None, trained_tokens=12)
    cost += student.as_student() + teacher.as_teacher()
    took = JobCost(cost, device="CPU, 1 thread(s)", parameters=11)
    costs.write(tmp_path, took)
    assert costs.read(tmp_path / costs.FILE) == took
    assert (cost.trained_positions, cost.student_positions, cost.teacher_positions) == (8, 9, 5)
    assert (cost.student_tokens, cost.teacher_tokens) == (7, 4)
    assert (cost.student_generated_tokens, cost.teacher_generated_tokens) == (6, 3)
    artifact.write_json(tmp_path / costs.FILE, {"seconds": 1.0})
    with pytest.raises(ValueError, match="trained_tokens"):
        costs.read(tmp_path / costs.FILE)


def test_a_cost_says_how_training_and_generation_used_the_machine(tmp_path: Path) -> None:
    captures = GraphCaptures(compiled=2, failed=1, reason="a look at a tensor")
    compilation = Compilation(False, "no compiler")
    took = JobCost(Cost(), "gpu", 1, compilation, captures)
    costs.write(tmp_path, took)
    assert costs.read(tmp_path / costs.FILE) == took
    training, generation = took.execution
    assert "Not compiled: no compiler" in training
    assert "2 captured and compiled, 1 launched kernel by kernel: a look at" in generation
    assert replace(took, compilation=None, captures=GraphCaptures()).execution == []


def test_counts_of_models_add_up_and_what_is_unknown_stays_so() -> None:
    counts, more = ModelCounter(9, 8, 7, 6, 10), ModelCounter(5, 0, 4, 3, 2)
    assert counts + more == ModelCounter(14, 8, 11, 9, 12)
    assert counts + more - more == counts
    unknown = replace(more, flops=None)
    assert (counts + unknown).flops is None
    assert (unknown - counts).flops is None
