"""A student that teaches itself: what it learns of its copy, and how the copy follows."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from players import CPU, Setup, llama, log_probs, run, words
from self_teaching import SHOWN, of_schooled, row
from torch import Tensor

from pipeline.data.batch import collate
from pipeline.data.encoding import Encoder
from pipeline.distributions.log_probs import log_probs_on
from pipeline.models.language_model import response_logits
from pipeline.models.lora import attach
from pipeline.models.teacher import LiveTeacher
from pipeline.settings.training import Lora
from pipeline.teacher_updates import attach_update
from pipeline.training import checkpoint
from pipeline.training.batches import step_batch, with_teacher
from pipeline.training.loop import backward_of_step, train
from pipeline.training.state import TrainingRun, initial_state


def after(made: TrainingRun, steps: int) -> TrainingRun:
    for step in train(made, initial_state(made)):
        if step == steps:
            break
    return made


def loss_of_first_step(made: TrainingRun) -> float:
    state = initial_state(made)
    return backward_of_step(made, state, step_batch(made, state, 0)).item()


def weights(model: torch.nn.Module) -> list[Tensor]:
    return [weight.detach().clone() for weight in model.parameters()]


def test_sdpo_learns_from_what_the_copy_says_behind_a_right_response() -> None:
    made = of_schooled(method="sdpo", template=SHOWN, samples=3, temperature=1.5)
    state = initial_state(made)
    batch = step_batch(made, state, 0)
    with_solution = [text for text in batch.texts if text.solution is not None]
    assert 0 < len(with_solution) < len(batch.texts)
    assert isinstance(made.teacher, LiveTeacher)
    assert made.teacher.prompts is not None

    total = 0.0
    for text in with_solution:
        p, q = (
            log_probs(made.student, each).gather(-1, torch.tensor(text.response_ids)[:, None])
            for each in (made.teacher.prompts.text(text), text)
        )
        weights_of_tokens = (q[:, 0] - torch.tensor(text.log_probs)).exp()
        total -= (weights_of_tokens * (p - q)[:, 0]).sum().item()
    loss = backward_of_step(made, state, batch).item()
    assert loss == pytest.approx(total / batch.token_count, rel=1e-3, abs=1e-5)


def test_a_step_without_a_right_response_changes_nothing() -> None:
    made = of_schooled(method="sdpo", template=SHOWN, samples=3)
    state = initial_state(made)
    batch = step_batch(made, state, 0)
    texts_alone = [replace(text, solution=None) for text in batch.texts]
    alone = replace(batch, texts=texts_alone, micro_batches=with_teacher(made, texts_alone, 0))
    assert backward_of_step(made, state, alone).item() == 0
    assert all((weight.grad == 0).all() for weight in made.student.parameters())


@pytest.mark.parametrize("method", ["opsd", "sdft"])
def test_with_nothing_shown_the_loss_is_zero_at_the_start(method: str) -> None:
    nothing = of_schooled(method=method, template="{prompt}")
    assert abs(loss_of_first_step(nothing)) < 1e-7  # float32
    assert loss_of_first_step(of_schooled(method=method)) > 1e-3


def test_the_loss_is_the_divergence_from_oneself_who_is_shown_the_reference() -> None:
    made = of_schooled(loss="forward_kl", policy="fixed")
    state = initial_state(made)
    batch = step_batch(made, state, 0)
    loss = backward_of_step(made, state, batch).item()
    assert isinstance(made.teacher, LiveTeacher)
    assert made.teacher.prompts is not None
    total = 0.0
    for text in batch.texts:
        p, q = (
            log_probs(made.student, made.teacher.prompts.text(text)),
            log_probs(made.student, text),
        )
        total += (p.exp() * (p - q)).sum().item()
    assert loss == pytest.approx(total / batch.token_count, rel=1e-5)


def test_gradient_flows_through_the_student_alone() -> None:
    made = of_schooled()
    loss_of_first_step(made)
    assert isinstance(made.teacher, LiveTeacher)
    assert all(weight.grad is not None for weight in made.student.parameters())
    assert all(weight.grad is None for weight in made.teacher.model.parameters())


@pytest.mark.parametrize(("rate", "steps"), [(0.0, 3), (0.25, 2), (1.0, 3)])
def test_the_copy_follows_the_student_at_its_rate(rate: float, steps: int) -> None:
    made = of_schooled(student_rate=rate)
    assert isinstance(made.teacher, LiveTeacher)
    expected = weights(made.student)
    for step in train(made, initial_state(made)):
        pairs = zip(expected, weights(made.student), strict=True)
        expected = [(1 - rate) * mean + rate * weight for mean, weight in pairs]
        if step == steps:
            break
    for weight, mean in zip(weights(made.teacher.model), expected, strict=True):
        torch.testing.assert_close(weight, mean, rtol=0, atol=1e-6)
    moved = zip(weights(made.teacher.model), weights(made.student), strict=True)
    assert all(torch.equal(*pair) for pair in moved) == (rate == 1)


def test_a_student_comes_nearer_to_what_it_says_when_it_is_shown_the_reference() -> None:
    made = of_schooled()
    assert isinstance(made.teacher, LiveTeacher)
    batch = collate(made.train_set[:12], CPU)
    signal = made.teacher.signal(batch)

    def apart() -> float:
        with torch.no_grad():
            q = log_probs_on(response_logits(made.student, batch), signal.support)
        return (signal.log_probs.exp() * (signal.log_probs - q)).sum(-1).mean().item()

    before = apart()
    after(made, 8)
    assert apart() < 0.8 * before


def test_beside_adapters_the_copy_has_adapters_that_follow() -> None:
    made = run(Setup(row(method="sdft", student_rate=0.5)))
    student = llama(1)
    attach(student, Lora(rank=2, alpha=2.0, dropout=0.0), seed=0)
    encoder = Encoder(words())
    teacher, update = attach_update(made.settings, student, None, made.train_set, encoder, 60)
    assert isinstance(teacher, LiveTeacher)
    assert update is not None
    after(replace(made, student=student, teacher=teacher, teacher_update=update), 3)
    names = [name for name, weight in student.named_parameters() if weight.requires_grad]
    own, copied = student.state_dict(), teacher.model.state_dict()
    assert update.state_dict().keys() == set(names)
    assert all(not own[name].equal(copied[name]) for name in names)
    assert all(own[name].equal(copied[name]) for name in own.keys() - set(names))


@pytest.mark.parametrize("method", ["opsd", "sdft", "sdpo"])
def test_a_resumed_copy_is_where_it_was(method: str, tmp_path: Path) -> None:
    made, fresh = (run(Setup(row(method=method))) for _ in range(2))
    state = initial_state(made)
    for step in train(made, state):
        if step == 3:
            break
    checkpoint.save(tmp_path, made, state, "job")
    assert checkpoint.resume(tmp_path, fresh, initial_state(fresh), "job")
    assert isinstance(made.teacher, LiveTeacher)
    assert isinstance(fresh.teacher, LiveTeacher)
    pairs = zip(weights(made.teacher.model), weights(fresh.teacher.model), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)
    assert not torch.equal(weights(fresh.teacher.model)[0], weights(fresh.student)[0])


def test_what_the_copy_reads_counts_and_generation_is_the_student_s() -> None:
    made = of_schooled()
    state = initial_state(made)
    for step in train(made, state):
        if step == 2:
            break
    assert state.teacher_work.generated_tokens == 0 < state.student_work.generated_tokens
    assert state.teacher_work.positions > state.student_work.trained_positions


@pytest.mark.parametrize("loss", ["forward_kl", "adakd", "opd"])
@pytest.mark.parametrize("policy", ["fixed", {"name": "mixed", "student_share": 1.0}, "adaptive"])
def test_it_composes_with_losses_and_texts(loss: str, policy: Any) -> None:
    keys = {"loss": loss, "policy": policy, "update": "privileged_prompt"}
    if loss == "opd" and not isinstance(policy, dict):
        with pytest.raises(ValueError, match="policy gradient"):
            row(**keys)
        return
    assert row(**keys).method.teacher == "self"
    made = after(run(Setup(row(**keys), steps=2)), 2)
    assert all(weight.isfinite().all() for weight in made.student.parameters())
