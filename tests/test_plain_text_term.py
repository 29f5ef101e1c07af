"""The term on plain text: cross entropy, in part forward KL to a live teacher, as in MiniLLM."""

from dataclasses import replace

import pytest
import torch
from players import CPU, Setup, run
from torch.nn.functional import log_softmax

from pipeline.data.batch import collate
from pipeline.methods.catalogue import METHODS
from pipeline.methods.method import apply_overrides, resolve
from pipeline.models.teacher import LiveTeacher
from pipeline.training.batches import step_batch
from pipeline.training.loop import backward_of_plain_text
from pipeline.training.state import TrainingRun, initial_state

WEIGHT = 0.7


def gradient(made: TrainingRun) -> torch.Tensor:
    weights = [weight.grad for weight in made.student.parameters() if weight.grad is not None]
    return torch.cat([each.flatten() for each in weights])


def by_hand(made: TrainingRun, share: float) -> torch.Tensor:
    """The gradient of the mean over tokens, from whole logits of both models."""
    made.student.zero_grad()
    texts = step_batch(made, initial_state(made), 0).plain_text[0].batch.texts
    batch = collate(texts, CPU)
    assert isinstance(made.teacher, LiveTeacher)
    logits = [
        model(input_ids=batch.input_ids).logits.flatten(0, 1)[batch.response_positions]
        for model in (made.student, made.teacher.model)
    ]
    q, p = (log_softmax(each, dim=-1) for each in logits)
    cross_entropy = -q.gather(1, batch.next_ids[:, None])[:, 0]
    divergence = (p.detach().exp() * (p.detach() - q)).sum(-1)
    (WEIGHT * ((1 - share) * cross_entropy + share * divergence).mean()).backward()
    return gradient(made)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_its_gradient_is_that_of_both_parts(share: float):
    changes = {"plain_text_weight": WEIGHT, "plain_text_kl": share}
    method = apply_overrides(METHODS["gkd"], changes)
    made = replace(run(Setup(resolve(method, {}))), max_tokens=10_000)  # one micro-batch
    state = initial_state(made)
    backward_of_plain_text(made, state, step_batch(made, state, 0))
    torch.testing.assert_close(gradient(made), by_hand(made, share), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("forward_kl", {"plain_text_weight": 1.0}),  # a cache has no plain text
        ("gkd", {"plain_text_weight": 0.0}),
    ],
)
def test_kl_without_a_live_teacher_or_a_term_is_refused(method: str, changes: dict[str, float]):
    with pytest.raises(ValueError, match=r"plain_text_kl = 0\.5: it needs `teacher: live`"):
        apply_overrides(METHODS[method], changes | {"plain_text_kl": 0.5})
