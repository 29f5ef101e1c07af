"""Every method takes steps on a pretended GPU: in float32 where it matters, hardly ever waiting."""

import math
from collections import Counter
from dataclasses import replace
from functools import cache

import pytest
import torch
from annotations import unchecked
from players import Setup, run, teacher_texts, trained
from pretend_ledger import Ledger, Note
from pretend_runtime import on_gpu

from pipeline.distributions.log_probs import Logits, PerToken, TeacherSignal, TokenContext
from pipeline.losses import Loss
from pipeline.methods.catalogue import METHODS
from pipeline.training.loop import mixed_token_losses, train
from pipeline.training.state import initial_state

STEPS = 3
DECIDING = {"dskd_v2"}  # features at tokens whose likeliest ones agree: rounding changes which
# what may make the host wait in training, how often a step at most, and why it must
WAITS = {
    "event pipeline/runtime/transfer.py:AsyncScalars.read": (
        2,
        "loss and gradient norm, mostly of a step ago",
    ),
    "item pipeline/training/loop.py:validation_nll": (1, "a measurement is asked for"),
    "item pipeline/models/lora.py:LoraOptimizer.check_finite": (
        1,
        "no teacher learns from what is no number",
    ),
    "item pipeline/teacher_updates/student_feedback.py:directional_slopes": (
        2,  # a micro-batch each
        "a length to divide by must not be zero",
    ),
}
# the same in writing texts, for each call of `generate`
WRITING_WAITS = {
    "copy from the host pipeline/generation/engine.py:GenerationEngine.add": (
        1,
        "which slots begin",
    ),
    "copy from the host pipeline/generation/slots.py:Slots.assign": (3, "what they begin with"),
    "copy from the host pipeline/generation/engine.py:_right_padded": (
        8,
        "prompts of like length",
    ),
    "copy to the host pipeline/generation/engine.py:GenerationEngine.advance": (
        2,
        "which texts have ended",
    ),
    "copy from the host pipeline/generation/engine.py:GenerationEngine.responses": (
        2,
        "whose texts to read",
    ),
    "copy to the host pipeline/generation/slots.py:Slots.responses": (10, "the texts"),
}


@pytest.fixture(scope="module", autouse=True)
def _schooled() -> None:
    """The teacher learns, and its texts are written, before there is a GPU."""
    teacher_texts()


def in_float32(
    loss: Loss, gold_weight: float, teacher: TeacherSignal, logits: Logits, tokens: TokenContext
) -> PerToken:
    """The loss of each token, where all that goes in and comes out is in float32."""
    losses = mixed_token_losses(loss, gold_weight, teacher, logits, tokens)
    tensors = [teacher.log_probs, logits, losses]
    if tokens.step_statistics is not None:
        tensors.append(tokens.step_statistics)
    assert {tensor.dtype for tensor in tensors} == {torch.float32}
    return losses


def beyond(waits: Counter[Note], allowed: dict[str, tuple[int, str]], times: int) -> list[str]:
    """The waits that no list allows, or that are more than it does."""
    counts = {f"{note.what} {note.place}": count for note, count in waits.items()}
    most = {name: count * times for name, (count, _) in allowed.items()}
    return [f"{count} x {name}" for name, count in counts.items() if count > most.get(name, 0)]


@cache
def expected(method: str) -> list[float]:
    """The losses on the CPU, in float32."""
    with unchecked():
        return [row["loss_nats"] for row in trained(Setup(method, steps=STEPS))[1].rows]


def assert_trains(method: str, gpu: Ledger) -> list[float]:
    """The losses of a run in which nothing is rounded and nothing waits beyond the lists."""
    made = replace(run(Setup(method, steps=STEPS, place=on_gpu)), compiled_loss=in_float32)
    state = initial_state(made)
    for step in train(made, state):
        assert not gpu.rounded
        assert not gpu.forbidden
        if step == 1:
            gpu.clear()  # what is made once, for all steps
    assert not beyond(gpu.waits, WAITS | WRITING_WAITS, STEPS - 1)
    return [row["loss_nats"] for row in state.rows]


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_method_trains_as_on_the_cpu_and_waits_no_more_than_it_must(method: str, gpu: Ledger):
    with unchecked():
        losses = assert_trains(method, gpu)
    assert all(math.isfinite(loss) for loss in losses)
    if METHODS[method].policy == "fixed":  # else bfloat16 may write another text
        # a factor of a product is rounded to 2^-9 of itself
        tolerance = 3e-2 if METHODS[method].features in DECIDING else 1e-2
        assert losses == pytest.approx(expected(method), rel=tolerance)
