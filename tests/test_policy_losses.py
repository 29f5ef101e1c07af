"""Losses on sampled text: estimators and policy gradients are what they are in expectation."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import tiny
import torch
from loss_cases import both, gradient
from torch import Tensor

from pipeline.distributions import divergences
from pipeline.distributions.log_probs import target_log_prob
from pipeline.losses import build_loss, g_opd, iw_opd, kl_estimator, minillm, opd


@pytest.fixture
def case() -> tiny.Case:
    return tiny.case()


def expected_gradient(loss: Any, written_with: Tensor, p: Tensor, logits: Tensor) -> Tensor:
    """The gradient of a loss on one token, in expectation over a distribution that writes it."""
    count = p.shape[-1]
    tokens = tiny.one_text(torch.arange(count), written_with[0])  # each of the vocabulary
    rows = loss(p.expand(count, -1), logits.log_softmax(-1).expand(count, -1), tokens)
    return gradient(written_with[0].exp() * rows, logits)


@pytest.mark.parametrize("by_student", [True, False])
@pytest.mark.parametrize(
    ("loss", "divergence"),
    [
        (kl_estimator.Loss("k2"), lambda p, q: divergences.kl(q, p)),
        (kl_estimator.Loss("k3"), lambda p, q: divergences.kl(p, q)),
        (opd.Loss(), lambda p, q: divergences.kl(q, p)),  # k1 as an advantage
        # k1 = log q - log p as a loss
        (
            lambda p, q, tokens: (
                (target_log_prob(q, tokens.target).detach() - tokens.sampled_log_probs).exp()
                * target_log_prob(q - p, tokens.target)
            ),
            lambda _, q: 0 * q.sum(),
        ),
    ],
    ids=["k2", "k3", "k1 as an advantage", "k1"],
)
def test_the_gradient_of_an_estimator_in_expectation(
    loss: Any, divergence: Callable[[Tensor, Tensor], Tensor], by_student: bool
) -> None:
    # every token of the vocabulary, by its probability under the writer: no sampling
    case = tiny.case(vocabulary=7)
    p, logits = case.teacher[:1].log_softmax(-1), case.student[:1].clone().requires_grad_(True)
    q = logits.log_softmax(-1)
    written_with = q.detach() if by_student else torch.logaddexp(p, q.detach()) - math.log(2)
    expected = gradient(divergence(p, q), logits)
    estimated = expected_gradient(loss, written_with, p, logits)
    torch.testing.assert_close(estimated, expected, rtol=1e-12, atol=1e-14)


def test_an_early_token_weighs_more_and_the_last_advantage_as_in_opd() -> None:
    # advantages of 1, -2 and 1 nats: shares before them are 0, 1/4 and 3/4
    q = torch.tensor([[0.5, 0.5]] * 3, dtype=torch.float64).log()
    p = q + torch.tensor([[1.0, 0.0], [-2.0, 0.0], [1.0, 0.0]])
    tokens = tiny.one_text(torch.zeros(3, dtype=torch.long), q[:, 0])
    losses = iw_opd.Loss(early_weight=0.4)(p, q, tokens)
    expected = torch.tensor([-1 * 1.4, 2 * 1.3, -1 * 1.1], dtype=torch.float64)
    torch.testing.assert_close(losses, expected)


def test_a_reward_of_weight_one_is_opd_whatever_the_reference(case: tiny.Case) -> None:
    (p, q), tokens = both(case), case.tokens({})
    same = g_opd.Loss(reward_weight=1.0)(p, q, tokens)
    torch.testing.assert_close(same, opd.Loss()(p, q, tokens))
    beyond = g_opd.Loss()(p, q, tokens)
    assert not torch.allclose(beyond, same, atol=1e-3)


def test_minillm_discounts_over_the_rest_of_the_text() -> None:
    # rewards 1, 2, 4 at γ = ½: (1 + 1 + 1) / 3, (2 + 2) / 2, 4 / 1
    rewards = torch.tensor([1.0, 2.0, 4.0])
    p, q = (
        torch.stack([column, torch.zeros(3)], dim=-1)
        for column in (rewards / 2 - 9, rewards * 0 - 9)
    )
    tokens = tiny.one_text(torch.zeros(3, dtype=torch.long), q[:, 0])
    returns = minillm.Loss(discount=0.5).step_statistic(p, q, tokens)
    torch.testing.assert_close(returns, torch.tensor([1.0, 2.0, 4.0]))


@pytest.mark.parametrize("name", ["minillm", "opd", "opd_spans"])
def test_policy_gradients_refuse_text_that_was_not_written(name: str, case: tiny.Case) -> None:
    p, q = both(case)
    tokens = case.tokens({})
    fixed = replace(tokens, all_sampled=False)
    with pytest.raises(ValueError, match="written in training"):
        tiny.losses(build_loss(name, {}), p, q, fixed)


def test_minillms_weight_is_that_of_a_student_that_has_moved_on_since_it_wrote() -> None:
    # the repository multiplies q over the q that wrote by that over p̃, and clips the product
    draw = torch.Generator().manual_seed(3)
    p, old, new = (
        torch.randn(40, 9, generator=draw, dtype=torch.float64).log_softmax(-1) for _ in range(3)
    )
    target = torch.randint(9, (40,), generator=draw)
    mixed = torch.logaddexp(p + math.log(0.2), old + math.log(0.8))
    at_target = [target_log_prob(each, target) for each in (p, old, new, mixed)]
    of_p, of_old, of_new, of_mixed = at_target
    tokens = tiny.one_text(target, of_mixed)
    ratio = (of_new - of_old).exp() * (of_old - of_mixed).exp()
    rewards = (of_p - of_new) / 0.5
    left = torch.arange(40, 0, -1)
    returns = (
        torch.stack(
            [(0.95 ** torch.arange(40 - index) * rewards[index:]).sum() for index in range(40)]
        )
        / left
    )
    advantage = (returns - returns.mean()) / returns.var(correction=0).sqrt()
    gain = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
    assert ((ratio < 0.8) | (ratio > 1.2)).sum() > 10
    losses = tiny.losses(minillm.Loss(), p, new, tokens)
    torch.testing.assert_close(losses, divergences.kl(new, p) - gain, rtol=1e-6, atol=1e-6)
