"""Log-probabilities on a support: their values, and a gradient that is made by hand."""

import torch
from torch import Tensor

from pipeline.distributions.log_probs import sparse_log_probs


def _plain(logits: Tensor, ids: Tensor) -> Tensor:
    probabilities = logits.softmax(-1)
    inside = probabilities.gather(-1, ids)
    return torch.cat([inside, 1 - inside.sum(-1, keepdim=True)], dim=-1).log()


def _case(tokens: int, vocabulary: int, k: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(tokens, vocabulary, generator=rng, dtype=torch.float64)
    ids = torch.rand(tokens, vocabulary, generator=rng).topk(k).indices
    return logits.requires_grad_(), ids


def test_the_values_are_those_of_the_definition() -> None:
    logits, ids = _case(9, 40, 7)
    torch.testing.assert_close(sparse_log_probs(logits, ids), _plain(logits, ids))


def test_the_gradient_is_that_of_finite_differences() -> None:
    logits, ids = _case(4, 11, 3)
    assert torch.autograd.gradcheck(lambda logits: sparse_log_probs(logits, ids), (logits,))


def test_the_gradient_is_that_of_automatic_differentiation() -> None:
    logits, ids = _case(9, 40, 7)
    weights = torch.randn(9, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (ours,) = torch.autograd.grad((weights * sparse_log_probs(logits, ids)).sum(), logits)
    (plain,) = torch.autograd.grad((weights * _plain(logits, ids)).sum(), logits)
    torch.testing.assert_close(ours, plain)


def test_the_gradient_is_finite_where_hardly_anything_is_outside() -> None:
    # in float32 a rest of exp(-150) is below the smallest number: its log-probability is not
    logits = torch.zeros(1, 5)
    logits[0, :2] = 150.0
    logits.requires_grad_()
    log_probs = sparse_log_probs(logits, torch.tensor([[0, 1]]))
    expected = -150 + torch.log(torch.tensor(3.0)) - torch.log(torch.tensor(2.0))
    torch.testing.assert_close(log_probs[0, 2], expected)
    log_probs[0, 2].backward()
    # of the rest: a third to each token outside, minus their probability, half, to each inside
    expected = torch.tensor([[-0.5, -0.5, 1 / 3, 1 / 3, 1 / 3]])
    torch.testing.assert_close(logits.grad, expected)


def test_the_precision_is_that_of_the_logits() -> None:
    logits, ids = _case(2, 9, 3)
    assert sparse_log_probs(logits, ids).dtype == torch.float64


def test_nothing_but_the_logits_is_kept_that_is_as_wide_as_the_vocabulary() -> None:
    logits, ids = _case(9, 1000, 7)
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        sparse_log_probs(logits, ids)
    wide = [tensor for tensor in kept if tensor.numel() >= logits.numel()]
    assert [tensor.data_ptr() for tensor in wide] == [logits.data_ptr()]
    # the ids, their log-probabilities and that of all others, and two numbers a token at most
    assert sum(tensor.numel() for tensor in kept) <= logits.numel() + 2 * ids.numel() + 2 * len(ids)


def test_a_rest_of_any_size_leaves_the_gradient_of_the_definition() -> None:
    logits, ids = _case(6, 40, 7)
    moved = logits.detach().clone()
    for row, distance in enumerate((-200.0, -30.0, 0.0, 30.0, 200.0, 600.0)):
        moved[row] = moved[row].scatter_add(0, ids[row], torch.full((7,), distance).double())
    moved.requires_grad_()
    weights = torch.randn(6, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    inside = moved.gather(-1, ids)
    rest = moved.scatter(-1, ids, -torch.inf).logsumexp(-1, keepdim=True)
    plain = torch.cat([inside, rest], dim=-1).log_softmax(-1)
    ours = sparse_log_probs(moved, ids)
    torch.testing.assert_close(ours, plain)
    (gradient,) = torch.autograd.grad((weights * ours).sum(), moved)
    (expected,) = torch.autograd.grad((weights * plain).sum(), moved)
    torch.testing.assert_close(gradient, expected)
