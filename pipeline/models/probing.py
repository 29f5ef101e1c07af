"""Passes of a model over a few tokens, by which something is found out about its family."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel


@contextmanager
def probing(model: PreTrainedModel) -> Iterator[None]:
    """No gradient, and autocast where the model's weights are of several types."""
    dtypes = {one.dtype for one in model.parameters()}
    with torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16, len(dtypes) > 1):
        yield
