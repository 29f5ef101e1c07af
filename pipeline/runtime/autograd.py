"""Autograd's decorators with the type of what they decorate."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch.autograd import function

Backward = TypeVar("Backward", bound=Callable[..., Any])


def once_differentiable(backward: Backward) -> Backward:
    """A backward pass that itself has no gradient, as torch's decorator of this name makes it.

    torch types the result with a positional-only `ctx`, which no `Function.backward` may have.
    """
    decorators: Mapping[str, Callable[[Backward], Backward]] = vars(function)
    return decorators["once_differentiable"](backward)
