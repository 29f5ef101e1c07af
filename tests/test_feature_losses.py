"""Losses on hidden states: each is what its formula gives, and keeps its laws."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from feature_references import NAMES, REFERENCES, SIZES, Views
from torch.utils.flop_counter import FlopCounterMode

from pipeline.feature_losses import BothModels, Sizes, dskd_v2, projector_of_each_pair
from pipeline.methods import components


def transposed(views: Views) -> None:
    """The projectors' matrices read the other way round: only of equal widths."""
    for each in views.projectors.values():
        each.weight = torch.nn.Parameter(each.weight.T.contiguous())


def shifted(views: Views) -> None:
    """The teacher's states of the token before."""
    views.teacher = views.teacher.roll(1, 0)


def exchanged(views: Views) -> None:
    """Each pair compared with the other pair's layer."""
    views.teacher = views.teacher.flip(1)


def other_texts(views: Views) -> None:
    """Tokens said to belong to other texts."""
    lengths = views.tokens.lengths.flip(0)
    sequence = torch.arange(len(lengths)).repeat_interleave(lengths)
    views.tokens = replace(views.tokens, lengths=lengths, sequence=sequence)


# what no reference can notice: these look at each token by itself
BY_ITSELF = ("hidden_mse", "hidden_cosine", "hidden_l2", "dskd", "dskd_v2")
BLIND = {(other_texts, name) for name in BY_ITSELF}
BLIND |= {(transposed, name) for name in ("hidden_cka", "hidden_relations")}  # of no projector


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_is_what_its_formula_gives(name: str) -> None:
    views = Views(name)
    losses, expected = views.losses().detach().numpy(), REFERENCES[name](views)
    # where it is zero, 1 - 1 may leave a unit in the last place
    np.testing.assert_allclose(losses, expected, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fault", [transposed, shifted, exchanged, other_texts])
def test_a_faulty_view_is_noticed(fault: Callable[[Views], None], name: str) -> None:
    sizes = replace(SIZES, student=SIZES.teacher)
    faulty, right = Views(name, sizes), Views(name, sizes)
    for views in (faulty, right):
        draw = torch.Generator().manual_seed(9)  # an identity would look the same transposed
        for weight in views.projectors.parameters():
            torch.nn.init.normal_(weight, generator=draw)
    fault(faulty)
    expected = REFERENCES[name](right)
    is_noticed = not np.allclose(faulty.losses().detach().numpy(), expected, rtol=1e-6)
    assert is_noticed == ((fault, name) not in BLIND)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in NAMES
        if components.class_constant("feature_losses", name, "zero_when_equal", True)
    ],
)
def test_equal_states_in_equal_widths_have_no_loss(name: str) -> None:
    views = Views(name, replace(SIZES, student=SIZES.teacher))
    assert views.losses().sum() > 0.1
    views.student, views.heads = views.teacher, (views.heads[1], views.heads[1])
    assert views.losses().abs().max() < 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_a_step_along_the_gradient_lowers_the_loss_and_the_teacher_gets_none(name: str) -> None:
    views = Views(name)
    views.teacher.requires_grad_()
    before = views.losses().sum()
    learning = [views.student, *views.projectors.parameters()]
    gradients = torch.autograd.grad(before, learning, retain_graph=True)
    assert all(each.isfinite().all() and each.abs().sum() > 0 for each in gradients)
    with torch.no_grad():
        for value, gradient in zip(learning, gradients, strict=True):
            value -= 1e-4 * gradient
    assert views.losses().sum() < before


def test_cka_is_blind_to_rotation_and_scale() -> None:
    views = Views("hidden_cka")
    before = views.losses()
    rotation = torch.linalg.qr(torch.randn(7, 7, dtype=torch.float64)).Q
    views.teacher = 3 * views.teacher @ rotation
    torch.testing.assert_close(views.losses(), before)


def test_cka_of_large_states_does_not_overflow_float32() -> None:
    views = Views("hidden_cka")
    before = views.losses()
    views.student, views.teacher = (1e3 * views.student).float(), (1e7 * views.teacher).float()
    views.heads = tuple(head.float() for head in views.heads)
    torch.testing.assert_close(views.losses().double(), before, rtol=1e-4, atol=1e-6)


def test_a_projector_starts_as_the_identity_between_equal_widths() -> None:
    draw = torch.Generator().manual_seed(0)
    (same,) = projector_of_each_pair(Sizes(4, 4, 1, 9, 9), draw).parameters()
    (other,) = projector_of_each_pair(Sizes(4, 6, 1, 9, 9), draw).parameters()
    assert same.equal(torch.eye(4))
    assert other.shape == (6, 4)
    assert 0 < other.abs().max() <= (6 / 10) ** 0.5  # Xavier's bound


def test_projectors_of_two_heads_keep_the_logits_of_common_tokens() -> None:
    draw = torch.Generator().manual_seed(2)
    student, turn = torch.randn(4, 30, generator=draw), torch.randn(6, 4, generator=draw)
    teacher = turn @ student  # all that it says can be said in the student's width
    loss = dskd_v2.Loss()
    projectors = loss.projectors(Sizes(4, 6, 1, 30, 30), draw)
    loss.fit_heads(projectors, student, teacher)
    hidden, other = torch.randn(5, 6, generator=draw), torch.randn(5, 4, generator=draw)
    there, back = projectors["to_student"](hidden), projectors["to_teacher"](other)
    torch.testing.assert_close(there @ student, hidden @ teacher, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(back @ teacher, other @ student, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_work_is_that_of_the_matrix_products_forward_and_backward(name: str) -> None:
    views = Views(name)
    count = len(views.tokens.target)
    views.tokens = replace(
        views.tokens,
        sequence=torch.zeros(count, dtype=torch.long),
        lengths=torch.tensor([count]),
        offsets=torch.arange(count),
    )
    student, teacher = (replace(view, logits=view.logits.detach()) for view in views.views())
    learning = [views.student, *views.projectors.parameters()]
    with FlopCounterMode(display=False) as counter:
        losses = views.loss(BothModels(views.projectors, student, teacher, views.tokens))
        torch.autograd.grad(losses.sum(), learning)
    assert 2 * views.loss.multiplications(SIZES, count) == counter.get_total_flops()
