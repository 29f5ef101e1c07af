"""Logits part by part: the same loss and gradient as all at once, for every loss."""

from dataclasses import replace

import pytest
import tiny
import torch
from laws import NEEDS_WHOLE_VOCABULARY
from torch import Tensor

from pipeline.data.batch import collate
from pipeline.methods import components
from pipeline.models.logits import logit_scaling
from pipeline.models.teacher import LiveTeacher
from pipeline.training.batches import MicroBatch, StepBatch
from pipeline.training.chunked_loss import descend, parts
from pipeline.training.loop import gather_step_statistics, step_loss, student_hidden
from pipeline.training.state import TrainingRun

CPU = torch.device("cpu")
CASES = [(name, None) for name in components.names("losses")]  # on the whole vocabulary
CASES += [(name, 8) for name, _ in CASES if name not in NEEDS_WHOLE_VOCABULARY]


def in_float64(name: str, k: int | None) -> TrainingRun:
    """A run whose models compute in float64, so that nothing but the order of sums differs."""
    run = tiny.run(components.build_loss(name, {}), gold_weight=0.25)
    teacher = LiveTeacher(run.teacher.model.double(), k=k)
    return replace(run, student=run.student.double(), teacher=teacher)


def descended(run: TrainingRun, tokens_in_a_part: int) -> tuple[Tensor, Tensor]:
    """The loss of a step that is one micro-batch, and the gradient of all weights."""
    state = tiny.plain_descent(run)
    batch = collate(run.pool, CPU)
    given = MicroBatch(batch, run.teacher.forecast(batch))
    rows = parts(batch, tiny.VOCABULARY, tokens_in_a_part * tiny.VOCABULARY)
    # of a step that is read twice: its medians, means and ranks are those of the step
    scores = gather_step_statistics(run, state, StepBatch(run.pool, [given, given], []))

    def loss_of(hidden: Tensor, at: slice) -> Tensor:
        return step_loss(run, state, given, scores, batch.token_count, hidden, at)

    loss = descend(student_hidden(run, batch), rows, loss_of)
    return loss, torch.cat([one.grad.flatten() for one in run.student.parameters()])


@pytest.mark.parametrize(("name", "k"), CASES)
def test_parts_add_up_to_the_whole(name: str, k: int | None) -> None:
    loss, gradient = descended(in_float64(name, k), 1000)
    in_parts, gradient_in_parts = descended(in_float64(name, k), 7)
    torch.testing.assert_close(in_parts, loss, rtol=1e-12, atol=1e-13)
    # float64 sums in another order
    torch.testing.assert_close(gradient_in_parts, gradient, rtol=1e-9, atol=1e-12)
    assert gradient.abs().max() > 0


def test_parts_are_whole_texts_of_no_more_logits_than_allowed() -> None:
    batch = collate(tiny.texts(), CPU)  # responses of 1, 6, 4, 2, 7 and 5 tokens
    found = parts(batch, vocabulary=10, logits=70)
    assert [(one.start, one.stop) for one in found] == [(0, 7), (7, 13), (13, 20), (20, 25)]
    alone = parts(batch, vocabulary=10, logits=10)
    assert [one.stop - one.start for one in alone] == [1, 6, 4, 2, 7, 5]


@pytest.mark.parametrize("model", ["student", "teacher"])
def test_the_head_never_sees_more_than_a_part(model: str) -> None:
    run, seen = tiny.run(components.build_loss("jsd", {})), []
    one = run.student if model == "student" else run.teacher.model
    logit_scaling(one)  # is measured by a pass of its own
    head = one.get_output_embeddings()
    head.register_forward_hook(lambda *call: seen.append(len(call[1][0])))
    descended(run, 7)
    assert seen == [7, 6, 7, 5]
