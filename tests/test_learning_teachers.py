"""A teacher that learns while its student trains: what it changes, and what must stay as it is."""

import pytest
import torch
from players import CPU, Setup, llama, run, schooled
from shelf import put_all
from torch import Tensor
from transformers import PreTrainedModel

from pipeline.data.batch import collate
from pipeline.stages import training_run
from pipeline.teacher_updates import TrainedStep, online_module, student_feedback
from pipeline.training import checkpoint
from pipeline.training.loop import train
from pipeline.training.state import TrainingRun, TrainingState, initial_state

LEARNING = ("okd", "ikd")


def bits(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def same(weights: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return weights.keys() == other.keys() and all(
        weights[name].equal(other[name]) for name in weights
    )


def test_held_out_texts_are_none_of_the_step_s_and_another_draw_at_each_step():
    made = run(Setup("ikd"))
    batch = {text.example_id for text in made.train_set[:8]}
    draws = [
        {text.example_id for text in made.teacher_update.held_out_texts(batch, step)}
        for step in range(5)
    ]
    assert all(len(draw) == made.settings.training.batch_size for draw in draws)
    assert not any(draw & batch for draw in draws)
    assert len({frozenset(draw) for draw in draws}) == 5


def test_a_step_that_takes_all_texts_is_refused():
    made = run(Setup("ikd"))
    with pytest.raises(ValueError, match="leaves none for the held-out loss"):
        made.teacher_update.held_out_texts({text.example_id for text in made.train_set}, 0)


@pytest.mark.parametrize("method", LEARNING)
def test_the_live_teacher_changes_and_the_student_s_part_leaves_no_trace_in_it(method):
    made = run(Setup(method))
    batch, student = collate(made.train_set[:6], CPU), bits(made.student)
    teacher, before = bits(made.teacher.model), made.teacher.signal(batch).log_probs
    assert not before.requires_grad

    for step in range(2):  # adapters begin at zero: their first step moves one factor only
        made.teacher_update.step(made.student, TrainedStep(step, batch.texts, [batch]))
    assert not made.teacher.signal(batch).log_probs.equal(before)
    assert same(bits(made.student), student)
    assert all(weight.grad is None for weight in made.student.parameters())
    now = bits(made.teacher.model)
    changed = {name for name in now if not now[name].equal(teacher[name])}
    assert {name.split(".")[-3] for name in changed} == {"lora_A", "lora_B"}


@pytest.mark.parametrize("method", LEARNING)
def test_micro_batches_do_not_change_what_the_teacher_learns(method):
    whole, parts = run(Setup(method)), run(Setup(method))
    some = whole.train_set[:6]
    at_once, cut = [collate(some, CPU)], [collate(some[:2], CPU), collate(some[2:], CPU)]
    whole.teacher_update.step(whole.student, TrainedStep(0, some, at_once))
    parts.teacher_update.step(parts.student, TrainedStep(0, some, cut))
    for weight, other in zip(
        whole.teacher_update.optimizer.weights, parts.teacher_update.optimizer.weights, strict=True
    ):
        # an element with next to no gradient has next to no say in its sign: Adam's first step
        assert ((weight - other).abs() > 1e-6).float().mean() < 0.02


def after(run_: TrainingRun, state: TrainingState, last: int) -> None:
    for _ in train(run_, state):
        if state.step == last:
            return


@pytest.mark.parametrize("method", LEARNING)
def test_killed_and_resumed_it_ends_with_the_same_bits(method, tmp_path):
    straight, killed, resumed = (run(Setup(method)) for _ in range(3))
    state = initial_state(straight)
    after(straight, state, 8)

    early = initial_state(killed)
    after(killed, early, 3)
    checkpoint.save(tmp_path, killed, early, "job")
    late = initial_state(resumed)
    assert checkpoint.resume(tmp_path, resumed, late, "job")
    assert late.step == 3
    after(resumed, late, 8)

    assert same(bits(straight.student), bits(resumed.student))
    assert same(bits(straight.teacher.model), bits(resumed.teacher.model))
    assert not same(bits(straight.teacher.model), bits(killed.teacher.model))
    losses = [[row["loss_nats"] for row in end.rows] for end in (state, late)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("method", LEARNING)
def test_the_teacher_s_artifact_stays_as_it_was(method, tmp_path):
    files = put_all(tmp_path)
    before = {path: path.read_bytes() for path in files.teacher.rglob("*.*")}
    made = training_run.assemble(files, run(Setup(method, steps=3)).settings)
    after(made, initial_state(made), 3)
    assert any(up.abs().sum() > 0 for up in made.teacher_update.optimizer.weights[1::2])
    assert {path: path.read_bytes() for path in files.teacher.rglob("*.*")} == before


@pytest.mark.parametrize("update", [online_module.Update(), student_feedback.Update()])
def test_a_teacher_s_gradient_that_is_not_finite_stops_the_run(update):
    made = run(Setup("okd"))
    learning = update.attach(schooled(), made.train_set, made.settings, max_tokens=400)
    with torch.no_grad():
        next(made.student.parameters()).fill_(torch.nan)
    some = made.train_set[:4]
    learning.step(made.student, TrainedStep(4, some, [collate(some, CPU)]))
    with pytest.raises(ValueError, match="not finite at step 5"):
        learning.state_dict()  # what is saved, and the next step, are refused


def test_a_student_that_was_moved_is_back_bit_by_bit():
    model = llama(0)
    before, direction = bits(model), [torch.randn_like(weight) for weight in model.parameters()]
    with student_feedback.perturbed(model, direction, 0.3):
        assert not same(bits(model), before)
    assert same(bits(model), before)
