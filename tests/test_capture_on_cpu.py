"""What a CPU keeps of a teacher's logits in less time, held against the plain way."""

import pytest
import torch

from pipeline.teacher_cache import kept, on_cpu
from pipeline.teacher_cache.kept import Chunk

ROWS, K = 40, 8


def logits(vocabulary: int, spread: float) -> torch.Tensor:
    return torch.randn(ROWS, vocabulary, generator=torch.Generator().manual_seed(0)) * spread


# at 1000, no more than a whole block's rest: what is left over stands in no block
@pytest.mark.parametrize("columns", [8, 63, 64, 1000, 1024])
def test_the_largest_of_each_row_are_those_that_a_sort_finds(columns: int):
    values = logits(columns, 3.0)
    found = on_cpu.top(values, K)
    assert values.gather(-1, found.columns).equal(found.values)
    expected = values.sort(dim=-1, descending=True).values[:, :K]
    assert found.values.sort(dim=-1, descending=True).values.equal(expected)


def test_of_equal_values_as_many_as_asked_for_are_taken():
    values = logits(1000, 1.0).round()  # some ten different numbers
    values[0], values[1] = 0.0, -torch.inf
    found = on_cpu.top(values, K)
    assert values.gather(-1, found.columns).equal(found.values)
    assert found.values.sum(-1).equal(values.topk(K).values.sum(-1))
    assert all(row.unique().numel() == K for row in found.columns)


# a teacher that is sure leaves to the rest less than single precision can hold
@pytest.mark.parametrize("spread", [0.5, 3.0, 100.0])
def test_what_is_kept_on_a_cpu_is_what_the_plain_way_keeps(spread: float):
    given = logits(1000, spread)
    next_ids = torch.randint(1000, (ROWS,), generator=torch.Generator().manual_seed(1))
    fast, plain = (
        one(Chunk(given[:, :0], given.clone(), next_ids, None), K, [2.0, 0.5])
        for one in (on_cpu.likeliest, kept.likeliest)
    )
    order = fast["log_probs"].argsort(dim=-1, descending=True)
    ids, log_probs = (fast[name].gather(-1, order) for name in ("ids", "log_probs"))
    assert ids.equal(plain["ids"])
    # sums over 1000 terms, in another order
    close = {"atol": 2e-5, "rtol": 1e-5}
    torch.testing.assert_close(log_probs, plain["log_probs"], **close)
    for name in ("target", "other", "entropy", "log_normalisers"):
        torch.testing.assert_close(fast[name], plain[name], **close)
