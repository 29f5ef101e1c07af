"""What single losses promise beyond the laws."""

import math
from dataclasses import replace

import pytest
import tiny
import torch
from loss_cases import both, gradient

from pipeline.data.batch import collate, token_context
from pipeline.distributions import divergences
from pipeline.distributions.log_probs import dense, top_k
from pipeline.losses import (
    adakd,
    amid,
    atkd,
    build_loss,
    contrastive_pair,
    entropy_aware,
    relational,
    taid,
    todi,
    top_k_kl,
)
from pipeline.models.language_model import response_logits
from pipeline.training.loop import mixed_token_losses


@pytest.fixture
def case() -> tiny.Case:
    return tiny.case()


def test_kl_falls_apart_into_target_and_diversity(case: tiny.Case) -> None:
    # the identity that ATKD and DKD rest on: KL = TKD + (1 - p_g) DKD
    (p, q), g = both(case), case.next_ids
    target = divergences.kl(
        *(divergences.binary_target(probabilities, g) for probabilities in (p, q))
    )
    diversity = divergences.kl(
        *(divergences.without_target(probabilities, g) for probabilities in (p, q))
    )
    uncertainty = divergences.binary_target(p, g)[:, 1].exp()
    torch.testing.assert_close(target + uncertainty * diversity, divergences.kl(p, q))


def test_a_top_k_without_its_bucket_would_be_no_divergence(case: tiny.Case) -> None:
    p, q = torch.tensor([[[0.5, 0.3, 0.2]], [[0.6, 0.39, 0.01]]], dtype=torch.float64).log()
    bare = 0.5 * math.log(0.5 / 0.6) + 0.3 * math.log(0.3 / 0.39)
    assert bare < 0
    loss = top_k_kl.Loss(top=2, forward_weight=1.0, by_student=False)
    one_token = tiny.one_text(torch.tensor([0]), p[:, 0])
    assert loss(p, q, one_token).item() == pytest.approx(bare + 0.2 * math.log(0.2 / 0.01))
    finer, coarse = divergences.kl(*both(case)), loss(*both(case), case.tokens({}))
    assert ((coarse >= 0) & (coarse <= finer + 1e-12)).all()


def test_forward_kl_is_added_where_the_teacher_is_unsure_alone(case: tiny.Case) -> None:
    p, q = both(case)
    median = divergences.entropy(p).median().item()
    losses = entropy_aware.Loss(entropy_threshold=median)(p, q, case.tokens({}))
    is_unsure = divergences.entropy(p) > median
    assert 0 < is_unsure.sum() < len(p)
    both_ways = divergences.kl(q, p) + divergences.kl(p, q)
    torch.testing.assert_close(losses, torch.where(is_unsure, both_ways, divergences.kl(q, p)))


def test_alpha_beta_of_ones_is_half_the_squared_distance(case: tiny.Case) -> None:
    # -[Σ pq - ½ Σ p² - ½ Σ q²] = ½ Σ (p - q)²
    p, q = both(case)
    distance = (p.exp() - q.exp()).square().sum(-1) / 2
    torch.testing.assert_close(divergences.alpha_beta(p, q, 1.0, 1.0), distance)


def test_todi_has_the_value_of_jeffreys_but_not_its_gradient(case: tiny.Case) -> None:
    logits = case.student.clone().requires_grad_(True)
    p, q = case.teacher.log_softmax(-1), logits.log_softmax(-1)
    jeffreys = divergences.kl(p, q) + divergences.kl(q, p)
    losses = todi.Loss()(p, q, case.tokens({}))
    torch.testing.assert_close(losses, jeffreys)
    assert not torch.allclose(gradient(losses, logits), gradient(jeffreys, logits), atol=1e-3)


def test_taid_pulls_towards_its_moving_target(case: tiny.Case) -> None:
    # of KL(r ‖ softmax z) with r held constant the gradient is q - r
    logits = case.student.clone().requires_grad_(True)
    p, q = case.teacher.log_softmax(-1), logits.log_softmax(-1)
    losses = taid.Loss()(p, q, case.tokens({"t": 0.7}))
    between = (0.3 * case.student + 0.7 * case.teacher).softmax(-1)
    expected = case.student.softmax(-1) - between
    torch.testing.assert_close(gradient(losses, logits), expected)


def test_taid_ends_at_forward_kl(case: tiny.Case) -> None:
    p, q = both(case)
    at_end = taid.Loss()(p, q, case.tokens({"t": 1.0}))
    torch.testing.assert_close(at_end, divergences.kl(p, q))


def test_amid_goes_over_into_the_geometric_mean_at_one(case: tiny.Case) -> None:
    p, q = both(case)
    at_one, near_one = (
        amid.Loss(curvature=curvature)(p, q, case.tokens({})) for curvature in (1.0, 1.0 + 1e-7)
    )
    torch.testing.assert_close(at_one, near_one, rtol=1e-5, atol=1e-6)


def test_adakd_keeps_every_token_at_temperature_one_where_all_are_alike(case: tiny.Case) -> None:
    alike = replace(
        case,
        teacher=case.teacher[:1].expand_as(case.teacher),
        student=case.student[:1].expand_as(case.student),
    )
    p, q = both(alike)
    losses = tiny.losses(adakd.Loss(), p, q, alike.tokens({"share": 1.0}))
    torch.testing.assert_close(losses, divergences.kl(q, p))


def test_atkd_reversed_is_atkd_with_the_roles_exchanged(case: tiny.Case) -> None:
    p, q = both(case)
    tokens = case.tokens({})
    exchanged = tiny.losses(atkd.Loss(), q, p, tokens)
    torch.testing.assert_close(tiny.losses(atkd.Loss(reverse=True), p, q, tokens), exchanged)


def test_atkd_has_hard_tokens_only_where_all_are_equally_uncertain(case: tiny.Case) -> None:
    p, _ = both(replace(case, teacher=case.teacher[:1].expand_as(case.teacher)))
    logits = case.student.clone().requires_grad_(True)
    tokens = replace(case.tokens({}), target=torch.zeros_like(case.next_ids))
    losses = tiny.losses(atkd.Loss(easy_weight=0.2), p, logits.log_softmax(-1), tokens)

    q, g = logits.log_softmax(-1), tokens.target
    target = divergences.kl(divergences.binary_target(p, g), divergences.binary_target(q, g))
    others = divergences.kl(divergences.without_target(p, g), divergences.without_target(q, g))
    torch.testing.assert_close(losses, 0.8 * (target + others))
    assert gradient(losses, logits).isfinite().all()


@pytest.mark.parametrize("base", ["forward_kl", "reverse_kl", "jsd", "akl", "todi", "amid"])
def test_atkd_on_any_base_is_zero_for_equals(base: str, case: tiny.Case) -> None:
    p, _ = both(case)
    losses = tiny.losses(atkd.Loss(base=base), p, p, case.tokens({}))
    torch.testing.assert_close(losses, torch.zeros_like(losses))


def test_the_pair_asks_by_whom_a_text_was_written(case: tiny.Case) -> None:
    p, q = both(case)
    loss, tokens = contrastive_pair.Loss(gradual=True), case.tokens({}, progress=0.25)
    nobody, everybody = (
        loss(p, q, replace(tokens, by_student=torch.full_like(tokens.by_student, by_student)))
        for by_student in (False, True)
    )
    # β = 1 + ½ · 2 · ¼
    torch.testing.assert_close(nobody, 0.75 * divergences.skew_kl(p, q, 0.1))
    torch.testing.assert_close(everybody, 1.25 * divergences.skew_kl(q, p, 0.1))


def test_relations_are_blind_to_an_error_that_all_positions_share(case: tiny.Case) -> None:
    shift = torch.randn(11, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    p, q = both(replace(case, student=case.teacher + shift))
    heavy, none = (relational.Loss(weight)(p, q, case.tokens({})) for weight in (5.0, 0.0))
    torch.testing.assert_close(heavy, none)


def test_relations_need_the_whole_vocabulary(case: tiny.Case) -> None:
    signal = top_k(case.teacher, case.next_ids, 4)
    with pytest.raises(ValueError, match="teacher = 'live'"):
        tiny.on_signal(relational.Loss(), signal, case, {})


def test_no_cross_entropy_on_what_the_student_wrote() -> None:
    loss, batch = build_loss("forward_kl", {}), collate(tiny.texts(), torch.device("cpu"))
    teacher, student = (response_logits(tiny.llama(seed), batch) for seed in (1, 2))
    signal = dense(teacher, batch.next_ids)
    tokens = token_context(batch, slice(None), signal.support, 0.0, {})
    pure, mixed = (
        mixed_token_losses(loss, weight, signal, student, tokens) for weight in (0.0, 0.25)
    )
    nll = -student.log_softmax(-1).gather(-1, batch.next_ids[:, None])[:, 0]
    by_student = batch.by_student
    assert by_student.any()
    assert not by_student.all()
    torch.testing.assert_close(mixed[by_student], 0.75 * pure[by_student])
    torch.testing.assert_close(mixed[~by_student], (0.75 * pure + 0.25 * nll)[~by_student])


def test_the_view_says_whether_the_support_is_the_whole_vocabulary() -> None:
    batch = collate(tiny.texts(), torch.device("cpu"))
    logits = torch.randn(batch.token_count, tiny.VOCABULARY)
    for signal, whole in (
        (dense(logits, batch.next_ids), True),
        (top_k(logits, batch.next_ids, 8), False),
    ):
        assert token_context(batch, slice(None), signal.support, 0.0, {}).dense is whole
