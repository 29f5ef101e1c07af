"""Tokens are drawn from the distribution that is asked for."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from pipeline.generation.sampling import CHUNK, apply_top_k_top_p, sample
from pipeline.settings.generation import Sampling


def logits(rows: int = 1, outcomes: int = 12) -> Tensor:
    return 2 * torch.randn(rows, outcomes, generator=torch.Generator().manual_seed(0))


def uniforms(count: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(count))


@pytest.mark.parametrize("outcomes", [12, CHUNK, 3 * CHUNK - 5])
def test_a_draw_inverts_the_cumulative_distribution(outcomes: int) -> None:
    row, uniform = logits(outcomes=outcomes), uniforms(5000)
    tokens, _ = sample(row.expand(5000, -1), uniform, Sampling())
    cumulative = row[0].double().softmax(-1).cumsum(-1).numpy()
    expected = np.searchsorted(cumulative, uniform.numpy(), side="right")
    # a float32 softmax may put a threshold 1e-7 off: of 5000 draws hardly one lies so close
    assert (tokens.numpy() != expected).sum() <= 1


def test_no_draw_meets_what_has_no_probability() -> None:
    possible = torch.tensor([CHUNK - 1, CHUNK, 2 * CHUNK + 7])
    row = torch.full((1, 3 * CHUNK), -torch.inf).index_fill(1, possible, 0.0)
    uniform = torch.tensor(
        [0.0, 1 / 3 - 1e-6, 1 / 3 + 1e-6, 2 / 3 + 1e-6, 1 - 2**-53], dtype=torch.double
    )
    tokens, _ = sample(row.expand(5, -1), uniform, Sampling())
    assert tokens.equal(possible[[0, 0, 1, 2, 2]])


def test_logits_that_are_no_numbers_still_give_a_token_of_the_vocabulary():
    row = torch.full((3, 300), torch.nan)  # a loss that is no number is told of later, by its step
    tokens, _ = sample(row, uniforms(3), Sampling())
    assert ((tokens >= 0) & (tokens < 300)).all()


@pytest.mark.parametrize(
    "sampling",
    [Sampling(), Sampling(temperature=0.5), Sampling(top_k=4), Sampling(top_p=0.9)],
    ids=str,
)
def test_draws_follow_the_distribution_that_they_report(sampling: Sampling) -> None:
    count = 20_000
    tokens, reported = sample(logits().expand(count, -1), uniforms(count), sampling)
    expected = count * reported[0].double().exp().numpy()
    observed = np.bincount(tokens.numpy(), minlength=12)
    assert observed[expected == 0].sum() == 0
    possible = expected > 0
    assert chisquare(observed[possible], expected[possible], sum_check=False).pvalue > 0.001


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(("top_k", "top_p"), [(0, 1.0), (3, 1.0), (0, 0.7), (5, 0.4), (50, 1.0)])
def test_restrictions_are_those_of_transformers(
    temperature: float, top_k: int, top_p: float
) -> None:
    warpers = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
    if top_k:
        warpers.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        warpers.append(TopPLogitsWarper(top_p))
    scores = logits(rows=40)
    expected = warpers(torch.zeros(40, 1, dtype=torch.long), scores).softmax(-1)
    own = apply_top_k_top_p(
        scores, Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    ).exp()
    torch.testing.assert_close(own, expected, atol=1e-6, rtol=0)  # float32 sums in another order


def test_temperature_zero_takes_the_likeliest() -> None:
    scores = logits(rows=30)
    tokens, _ = sample(scores, uniforms(30), Sampling(temperature=0))
    assert tokens.equal(scores.argmax(-1))
