"""What is kept of a teacher's logits, on a CPU and elsewhere, held against plain sorts and sums."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from pipeline.distributions import ranking
from pipeline.teacher_cache import reduce
from pipeline.teacher_cache.reduce import Chunk

ROWS, K = 40, 8
Top = Callable[[torch.Tensor, int], ranking.RankedTokens]


def logits(vocabulary: int, spread: float) -> torch.Tensor:
    return torch.randn(ROWS, vocabulary, generator=torch.Generator().manual_seed(0)) * spread


def by_rank(values: torch.Tensor) -> np.ndarray:
    """The first K columns of each row: the greatest first, of equal ones the lowest column."""
    return np.argsort(-values.double().numpy(), axis=-1, kind="stable")[:, :K]


# at 1000, no more than a whole block's rest: what is left over stands in no block
@pytest.mark.parametrize("columns", [8, 63, 64, 1000, 1024])
@pytest.mark.parametrize("of", [reduce.top_k_on_cpu, reduce.top_k_on_gpu])
def test_the_largest_of_each_row_are_those_that_a_sort_finds(of: Top, columns: int):
    values = logits(columns, 3.0)
    top = of(values, K)
    np.testing.assert_array_equal(top.columns, by_rank(values))
    assert values.gather(-1, top.columns).equal(top.values)


@pytest.mark.parametrize("columns", [40, 1000])
def test_of_equal_values_those_in_the_lowest_columns_are_taken(columns: int):
    values = logits(columns, 1.0).round()  # some ten different numbers, 0 and -0 among them
    values[0], values[1] = 0.0, -torch.inf
    top = reduce.top_k_on_cpu(values, K)
    np.testing.assert_array_equal(top.columns, by_rank(values))
    assert values.gather(-1, top.columns).equal(top.values)


@pytest.mark.parametrize("count", [3, 40, 50])
def test_the_likeliest_tokens_are_those_of_a_stable_sort(count: int):
    values = logits(40, 1.0).round()
    expected = np.argsort(-values.numpy(), axis=-1, kind="stable")[:, :count]
    np.testing.assert_array_equal(ranking.top_tokens(values, count), expected)


# a teacher that is sure leaves to the rest less than single precision can hold
@pytest.mark.parametrize("spread", [0.5, 3.0, 100.0])
@pytest.mark.parametrize("of", [reduce.top_k_on_cpu, reduce.top_k_on_gpu])
def test_what_is_kept_is_what_the_whole_distribution_says(of: Top, spread: float):
    values = logits(1000, spread)
    next_ids = torch.randint(1000, (ROWS,), generator=torch.Generator().manual_seed(1))
    next_ids[:10] = values[:10].argmax(-1)
    kept = reduce.top_k_and_rest(Chunk(values[:, :0], values.clone(), next_ids, None), K, of)

    exact = values.double().log_softmax(-1)
    others = exact.scatter(-1, next_ids[:, None], -torch.inf)
    expected = by_rank(others)[:, : K - 1]
    np.testing.assert_array_equal(kept["ids"], expected)
    ids = torch.from_numpy(expected)
    rank = (others > exact.gather(-1, next_ids[:, None])).sum(-1)
    assert kept["rank"].equal(rank.clamp(max=K - 1))

    close = {"atol": 2e-5, "rtol": 1e-5, "check_dtype": False}
    torch.testing.assert_close(kept["log_probs"], exact.gather(-1, ids), **close)
    torch.testing.assert_close(kept["target"], exact.gather(-1, next_ids[:, None])[:, 0], **close)
    rest = others.scatter(-1, ids, -torch.inf).logsumexp(-1)
    torch.testing.assert_close(kept["rest"], rest, **close)
