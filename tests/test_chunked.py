"""Logits chunk by chunk: the same loss and gradient as all at once, for every loss."""

from dataclasses import replace

import pytest
import tiny
import torch
from torch import Tensor

from pipeline.data.batch import collate
from pipeline.losses import build_loss
from pipeline.methods import components
from pipeline.models import logit_chunks
from pipeline.models.logits import logit_scaling
from pipeline.models.teacher import LiveTeacher
from pipeline.training.batches import MicroBatch, StepBatch
from pipeline.training.loop import train_step
from pipeline.training.state import TrainingRun

CPU = torch.device("cpu")
CASES = [(name, None) for name in components.names("losses")]  # on the whole vocabulary
CASES += [(name, 8) for name, _ in CASES if components.on_sparse_support(name) != "refused"]


def in_float64(name: str, k: int | None) -> TrainingRun:
    """A run whose models compute in float64, so that nothing but the order of sums differs."""
    run = tiny.run(build_loss(name, {}), gold_weight=0.25)
    teacher = LiveTeacher(run.teacher.model.double(), k=k)
    return replace(run, student=run.student.double(), teacher=teacher)


def gradient_of_step(run: TrainingRun) -> tuple[float, Tensor]:
    """The loss of a step that is one micro-batch, and its gradient: plain descent follows it."""
    batch = collate(run.train_set, CPU)
    step = StepBatch(run.train_set, [MicroBatch(batch, run.teacher.distributions(batch))], [])
    before = torch.nn.utils.parameters_to_vector(run.student.parameters()).detach()
    loss, _ = train_step(run, tiny.plain_descent(run), step).read()
    return loss, before - torch.nn.utils.parameters_to_vector(run.student.parameters()).detach()


@pytest.mark.parametrize(("name", "k"), CASES)
def test_chunks_add_up_to_the_whole(
    name: str, k: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, gradient = gradient_of_step(in_float64(name, k))
    monkeypatch.setattr(logit_chunks, "CPU_LOGITS", 7 * tiny.VOCABULARY)
    loss_of_chunks, gradient_of_chunks = gradient_of_step(in_float64(name, k))
    assert loss_of_chunks == pytest.approx(loss, rel=1e-6)  # summed in float32
    # float64 sums in another order
    torch.testing.assert_close(gradient_of_chunks, gradient, rtol=1e-9, atol=1e-12)
    assert gradient.abs().max() > 0


def test_chunks_are_whole_texts_of_no_more_logits_than_allowed() -> None:
    batch = collate(tiny.texts(), CPU)  # responses of 1, 6, 4, 2, 7 and 5 tokens
    chunks = logit_chunks.logit_chunks(batch, vocabulary=10, most=70)
    assert [(rows.start, rows.stop) for rows in chunks] == [(0, 7), (7, 13), (13, 20), (20, 25)]
    single = logit_chunks.logit_chunks(batch, vocabulary=10, most=10)
    assert [rows.stop - rows.start for rows in single] == [1, 6, 4, 2, 7, 5]


@pytest.mark.parametrize("role", ["student", "teacher"])
def test_the_lm_head_never_sees_more_than_a_chunk(
    role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logit_chunks, "CPU_LOGITS", 7 * tiny.VOCABULARY)
    run, token_counts = tiny.run(build_loss("jsd", {})), []
    model = run.student if role == "student" else run.teacher.model
    logit_scaling(model)  # is measured by a forward pass
    lm_head = model.get_output_embeddings()
    lm_head.register_forward_hook(lambda *call: token_counts.append(len(call[1][0])))
    gradient_of_step(run)
    assert token_counts == [7, 6, 7, 5]
