"""Products of a model that doesn't learn, on a CPU."""

import pytest
import torch
from tiny import llama
from torch import Tensor
from torch.nn import functional as F

from pipeline.models.products import WORTHWHILE, LinearByOneDnn, frozen_products, linear


def factors(inputs: int) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    outputs, rows = 64, WORTHWHILE // (64 * inputs) + 1
    return (
        torch.randn(2, rows, inputs, generator=draw),
        torch.randn(outputs, inputs, generator=draw),
        torch.randn(outputs, generator=draw),
    )


@pytest.mark.parametrize("inputs", [16, 160, 1000])
@torch.no_grad()
def test_the_product_is_that_of_float64_but_for_rounding(inputs: int):
    x, weight, bias = factors(inputs)
    expected = x.double() @ weight.double().T
    # float32 rounds each of the sums of `inputs` numbers of about one
    tolerance = {"rtol": 0, "atol": 1e-6 * inputs}
    torch.testing.assert_close(linear(x, weight).double(), expected, **tolerance)
    torch.testing.assert_close(linear(x, weight, bias).double(), expected + bias, **tolerance)
    columns = weight.T.contiguous().T  # the same matrix in the other order
    torch.testing.assert_close(linear(x, columns).double(), expected, **tolerance)


def test_a_product_with_a_gradient_has_torchs_own():
    x, weight, bias = factors(16)
    weight.requires_grad_()
    with LinearByOneDnn():
        by_mode = torch.autograd.grad(F.linear(x, weight, bias).square().sum(), weight)
    assert torch.equal(
        *by_mode, *torch.autograd.grad(F.linear(x, weight, bias).square().sum(), weight)
    )


@torch.no_grad()
def test_only_a_model_that_does_not_learn_is_read_in_another_way():
    model = llama(0).eval()
    assert not isinstance(frozen_products(model), LinearByOneDnn)
    model.requires_grad_(False)
    assert isinstance(frozen_products(model), LinearByOneDnn)
    model.model.layers[0].train()
    assert not isinstance(frozen_products(model), LinearByOneDnn)


@torch.no_grad()
def test_other_numbers_and_small_products_are_torchs_own():
    x, weight, bias = factors(16)
    for left, right in [(x.double(), weight.double()), (x.bfloat16(), weight.bfloat16())]:
        assert torch.equal(linear(left, right), F.linear(left, right))
    assert torch.equal(linear(x[:, :1], weight, bias), F.linear(x[:, :1], weight, bias))
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x, weight).dtype == torch.bfloat16
