"""What every loss must obey, a function for each law: it raises AssertionError where it is broken.

The tests and the table of mutations call the same functions.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import reference_cases
import references
import span_references
import text_references
import tiny
import torch
from torch import Tensor

from distilbench_conformance import cases
from distilbench_conformance import laws as kit
from distilbench_conformance.cases import Loss
from pipeline.data.batch import Batch, Text, collate, token_context
from pipeline.distributions.log_probs import dense, log_probs_on, top_k
from pipeline.losses import build_loss
from pipeline.methods import components
from pipeline.models.attention import unmasked_context
from pipeline.models.logits import logit_scaling
from pipeline.training.batches import MicroBatch, StepBatch
from pipeline.training.loop import train, train_step

Settings = dict[str, object]
REFERENCES = vars(references) | vars(text_references) | vars(span_references)


def same(batch: Batch) -> Batch:
    return batch


@dataclass(frozen=True)
class Subject:
    """A loss under test: how it is built, and what is done to the batches that it sees."""

    name: str
    build: Callable[[Settings], Any]
    batches: Callable[[Batch], Batch] = same

    def variants(self) -> list[Settings]:
        """Hyperparameters under which it is compared with its reference."""
        return [{}, *reference_cases.VARIANTS.get(self.name, [])]

    def state(self) -> dict[str, float]:
        """What the loss carries from step to step, so that it matters."""
        return reference_cases.STATES.get(self.name, {})


def subject(name: str) -> Subject:
    """The loss as it is."""
    return Subject(name, lambda settings: build_loss(name, dict(settings)))


def kit_loss(subject: Subject, settings: Settings | None = None) -> Loss:
    """The loss as the conformance kit calls it, through the batches that training makes."""
    known = cases.case()
    at_ids = known.student.log_softmax(-1).gather(-1, known.ids[..., None])[..., 0]
    sampled = at_ids + 0.1 * torch.sin(torch.arange(at_ids.numel())).view_as(at_ids)

    def loss(student: Tensor, teacher: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        rows = zip(labels, mask, sampled, strict=False)  # a text alone, too
        batch = subject.batches(collate([as_text(*row) for row in rows], torch.device("cpu")))
        width = batch.input_ids.shape[1]
        signal, logits = (
            each[:, :width].flatten(0, 1)[batch.response_positions] for each in (teacher, student)
        )
        signal = dense(signal.detach(), batch.next_ids)
        batch = replace(batch, reference_log_probs=batch.sampled_log_probs / 2)
        context = token_context(batch, slice(None), signal.support, 0.3, subject.state())
        student_log_probs = log_probs_on(logits, signal.support)
        return tiny.losses(
            subject.build(settings or {}), signal.log_probs, student_log_probs, context
        ).mean()

    return loss


def as_text(labels: Tensor, mask: Tensor, log_probs: Tensor) -> Text:
    """A row of the kit's batch; the shorter responses are the student's."""
    first, count = int(mask.int().argmax()), int(mask.sum())
    return Text(
        example_id="row",
        prompt_ids=[0] * first,
        response_ids=labels[mask].tolist(),
        author="student" if count < 4 else "teacher",
        advantage=count / 2 - 1.7,
        solution=[0],
        log_probs=log_probs[: len(mask)][mask[: len(log_probs)]].tolist(),
    )


def zero_when_equal(subject: Subject) -> None:
    """Law 1: a student that is the teacher has nothing to learn, at any token."""
    case = tiny.case()
    p, q = case.teacher.log_softmax(-1), case.student.log_softmax(-1)
    equal, apart = (
        tiny.losses(subject.build({}), p, each, case.tokens(subject.state())) for each in (p, q)
    )
    zero = components.class_constant("losses", subject.name, "zero_when_equal", True)
    assert (equal.abs().max() < 1e-12) == zero
    assert apart.abs().sum() > 1e-3


def permutation(subject: Subject) -> None:
    """Law 2: the order of the vocabulary means nothing."""
    kit.permuted_vocabulary(kit.Subject(kit_loss(subject), tolerance=1e-12))


def descent(subject: Subject) -> None:
    """Law 3: the gradient is finite, and a small step along it lowers the loss."""
    kit.descent(kit.Subject(kit_loss(subject)))


def reference(subject: Subject) -> None:
    """Law 4: it is what the paper's formula gives, token by token."""
    case = tiny.case()
    p, q = case.teacher.log_softmax(-1), case.student.log_softmax(-1)
    tokens = case.tokens(subject.state())
    slow = REFERENCES.get(subject.name)
    assert slow, f"tests/references.py lacks {subject.name}: the loss in NumPy, from its formula"
    known = components.hyperparameters("losses", subject.name)
    for settings in subject.variants():
        h = SimpleNamespace(**{key: field.default for key, field in known.items()} | settings)
        ours = tiny.losses(subject.build(settings), p, q, tokens)
        theirs = slow(p.exp().numpy(), q.exp().numpy(), tokens, h)
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-6, atol=1e-6)
        if subject.name in reference_cases.PATHS:
            key, path = reference_cases.PATHS[subject.name]
            np.testing.assert_allclose(carried(subject.build(settings), key), path(h), rtol=1e-12)


def carried(loss: Any, key: str) -> list[float]:
    """What a loss carries along the reference's curve of losses."""
    state, values = loss.initial_state(), []
    for step, loss_nats in enumerate(reference_cases.CURVE):
        state = loss.update_state(state, loss_nats, step / len(reference_cases.CURVE))
        values.append(state[key])
    return values


def positions(subject: Subject) -> None:
    """Law 5a: where the next token is of the response there is a gradient, and nowhere else."""
    hidden, run = [], tiny.run(subject.build({}))
    for measure in (
        unmasked_context,
        logit_scaling,
    ):  # by a forward pass, when it is first asked for
        measure(run.student)

    def watch(_module: torch.nn.Module, _inputs: object, output: Any) -> None:
        output[0].retain_grad()
        hidden.append(output[0])

    run.student.base_model.register_forward_hook(watch)
    batch = subject.batches(collate(run.train_set, torch.device("cpu")))
    step = StepBatch(run.train_set, [MicroBatch(batch, run.teacher.distributions(batch))], [])
    train_step(run, tiny.plain_descent(run), step)

    touched = hidden[0].grad.abs().sum(-1) > 0  # [batch, time]
    expected = torch.zeros_like(touched)
    for row, text in enumerate(run.train_set):
        expected[row, len(text.prompt_ids) - 1 : text.length] = True
    assert torch.equal(touched, expected)


def micro_batches(subject: Subject) -> None:
    """Law 5b: into which micro-batches a step is cut changes nothing."""
    whole, cut = (update(subject, budget) for budget in (10_000, 20))
    # float32 sums in another order differ by some 1e-7 of the largest
    torch.testing.assert_close(cut, whole, rtol=1e-4, atol=1e-5 * whole.abs().max().item())
    assert whole.abs().max() > 0


def update(subject: Subject, budget: int) -> Tensor:
    """How a step of plain gradient descent changes the weights of a tiny Llama."""
    run = tiny.run(subject.build({}), budget)
    state = tiny.plain_descent(run)
    state.loss |= subject.state()
    before = torch.nn.utils.parameters_to_vector(run.student.parameters()).detach()
    list(train(run, state))
    return torch.nn.utils.parameters_to_vector(run.student.parameters()).detach() - before


def sparse(subject: Subject) -> None:
    """Law 6: on a support of all tokens it is the dense value, on a smaller one what is documented.

    Supports are made in float32.
    """
    case, loss = tiny.case(vocabulary=11), subject.build({})
    whole = tiny.on_signal(loss, dense(case.teacher, case.next_ids), case, subject.state())
    everything = top_k(case.teacher, case.next_ids, 11)
    documented = components.on_sparse_support(subject.name)
    if documented == "refused":
        with pytest.raises(ValueError, match="whole vocabulary"):
            tiny.on_signal(loss, everything, case, subject.state())
        return
    torch.testing.assert_close(
        tiny.on_signal(loss, everything, case, subject.state()), whole, rtol=1e-4, atol=1e-5
    )
    assert documented in (None, "lower", "equal")
    if documented is None:
        return
    for k in (2, 4, 8):
        coarse = tiny.on_signal(loss, top_k(case.teacher, case.next_ids, k), case, subject.state())
        assert (coarse <= whole + 1e-5).all()
        assert documented == "lower" or torch.allclose(coarse, whole, atol=1e-5)


def extremes(subject: Subject) -> None:
    """Logits of ±50, nearly all of the probability on one token, in float32."""
    kit.extremes(kit.Subject(kit_loss(subject)))


LAWS = (
    zero_when_equal,
    permutation,
    descent,
    reference,
    positions,
    micro_batches,
    sparse,
    extremes,
)
