"""Sampled teacher targets: what is drawn, and that forward KL on it is unbiased."""

import pytest
import tiny
import torch
from torch import Tensor

from pipeline.distributions.log_probs import TeacherSignal, dense, log_probs_on, top_k
from pipeline.distributions.sampled_targets import redraw, sample_signal
from pipeline.losses.forward_kl import Loss

VOCABULARY, TOKENS = 9, 4


@pytest.fixture
def teacher() -> Tensor:
    return torch.randn(TOKENS, VOCABULARY, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def student() -> Tensor:
    return torch.randn(TOKENS, VOCABULARY, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def next_ids() -> Tensor:
    return torch.tensor([0, 8, 3, 3])


def uniform(draws: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(TOKENS, draws, generator=generator, dtype=torch.float64)


def gradient(signal: TeacherSignal, student: Tensor) -> Tensor:
    """Of forward KL, with regard to the student's logits."""
    logits = student.clone().requires_grad_(True)
    return torch.autograd.grad(losses(signal, logits).sum(), logits)[0]


def losses(signal: TeacherSignal, student: Tensor) -> Tensor:
    """Forward KL at each token."""
    tokens = tiny.one_text(signal.support.target, torch.zeros(TOKENS))
    return Loss()(signal.log_probs, log_probs_on(student, signal.support), tokens)


def counts(signal: TeacherSignal) -> Tensor:
    """The probability of each token of the vocabulary."""
    ids = signal.support.ids
    return torch.zeros(TOKENS, VOCABULARY).scatter(
        -1, ids, signal.log_probs[:, : ids.shape[1]].exp()
    )


@pytest.mark.parametrize("k", [None, 4])
def test_redrawn_targets_are_shares_of_draws_of_the_signals_own_outcomes(
    k: int | None, teacher: Tensor, next_ids: Tensor
) -> None:
    signal = dense(teacher, next_ids) if k is None else top_k(teacher, next_ids, k)
    drawn = redraw(signal, uniform(6))
    shares = drawn.log_probs.exp()
    assert drawn.support is signal.support
    torch.testing.assert_close(shares * 6, (shares * 6).round())
    torch.testing.assert_close(shares.sum(-1), torch.ones(TOKENS))


@pytest.mark.slow
@pytest.mark.parametrize("k", [None, 4])
def test_the_gradient_of_redrawn_targets_is_that_of_the_signal_on_average(
    k: int | None, teacher: Tensor, student: Tensor, next_ids: Tensor
) -> None:
    signal, repeats, draws = (
        (dense(teacher, next_ids) if k is None else top_k(teacher, next_ids, k)),
        3000,
        5,
    )
    gradients = torch.stack(
        [gradient(redraw(signal, uniform(draws, seed)), student) for seed in range(repeats)]
    )
    error = (gradients.mean(0) - gradient(signal, student)).abs()
    # five standard errors of the mean of that many draws
    assert (error < 5 * gradients.std(0) / repeats**0.5 + 1e-6).all()
    assert gradients.std(0).max() > 0.05


def test_targets_are_the_shares_of_draws_and_sum_to_one(teacher: Tensor, next_ids: Tensor) -> None:
    signal = sample_signal(teacher, next_ids, 5, uniform(5))
    shares = counts(signal)
    torch.testing.assert_close(shares * 5, (shares * 5).round())
    torch.testing.assert_close(shares.sum(-1), torch.ones(TOKENS))
    assert (signal.log_probs[:, -1] == -torch.inf).all()  # the bucket


def test_supports_are_as_wide_as_can_be_needed_and_name_no_token_twice(
    teacher: Tensor, next_ids: Tensor
) -> None:
    for draws, width in ((1, 2), (5, 6), (50, VOCABULARY)):
        ids = sample_signal(teacher, next_ids, draws, uniform(draws)).support.ids
        assert ids.shape == (TOKENS, width)
        assert all(len(set(row)) == width for row in ids.tolist())


def test_the_next_token_is_in_the_support_drawn_or_not(teacher: Tensor, next_ids: Tensor) -> None:
    signal = sample_signal(teacher, next_ids, 3, uniform(3))
    assert torch.equal(signal.support.next_ids, next_ids)


def test_a_token_is_drawn_where_the_uniform_number_falls() -> None:
    # cumulative ¼, ¾, 1
    logits = torch.tensor([[0.25, 0.5, 0.25]]).log()
    uniforms = torch.tensor([[0.0, 0.2499, 0.26, 0.7499, 0.76, 0.999]], dtype=torch.float64)
    signal = sample_signal(logits, torch.tensor([2]), 6, uniforms)
    shares = torch.zeros(1, 3).scatter(-1, signal.support.ids, signal.log_probs.exp())
    torch.testing.assert_close(shares, torch.full((1, 3), 1 / 3))


def test_forward_kl_counts_only_outcomes_that_were_drawn(
    teacher: Tensor, student: Tensor, next_ids: Tensor
) -> None:
    signal = sample_signal(teacher, next_ids, 5, uniform(5))
    per_token = losses(signal, student)
    shares, q = counts(signal).double(), student.double().log_softmax(-1)
    expected = torch.stack(
        [
            sum(a * (a.log() - b) for a, b in zip(*rows, strict=True) if a > 0)
            for rows in zip(shares, q, strict=True)
        ]
    )
    torch.testing.assert_close(per_token.double(), expected, rtol=1e-5, atol=1e-6)
    assert gradient(signal, student).isfinite().all()


def test_one_draw_has_the_dense_gradient_in_expectation(
    teacher: Tensor, student: Tensor, next_ids: Tensor
) -> None:
    # over each token's stretch of [0, 1) the draw is the same: the expectation is a finite sum
    p = teacher.double().softmax(-1)
    middles = p.cumsum(-1) - p / 2
    expected = torch.zeros(TOKENS, VOCABULARY)
    for token in range(VOCABULARY):
        signal = sample_signal(teacher, next_ids, 1, middles[:, token : token + 1])
        expected += p[:, token : token + 1].float() * gradient(signal, student)
    torch.testing.assert_close(expected, gradient(dense(teacher, next_ids), student))


def test_many_draws_come_to_the_dense_gradient(
    teacher: Tensor, student: Tensor, next_ids: Tensor
) -> None:
    repeats, draws = 300, 50
    gradients = [
        gradient(sample_signal(teacher, next_ids, draws, uniform(draws, seed)), student)
        for seed in range(repeats)
    ]
    off = torch.stack(gradients).mean(0) - gradient(dense(teacher, next_ids), student)
    # the standard error of a share is at most ½ / √(300 · 50) = 0.004; none of 36 is 5 of it off
    assert off.abs().max() < 5 * 0.5 / (repeats * draws) ** 0.5
