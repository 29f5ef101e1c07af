"""Attention without a mask, for whole texts: padded at the right, they need none.

Without a mask transformers checks the position ids, which makes the host wait for a GPU, and builds
a mask whenever it is traced, with which attention is slower. An attention function that has no
mask function skips both. That is right where a model's attention is causal and nothing else, or
where a text is not longer than the sliding window of its layers.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from pipeline.models.logits import probe_pass
from pipeline.models.measured import measured_once

UNMASKED, RECORDING = "sdpa_unmasked", "sdpa_recording"  # names of attention functions
PROBE_TOKENS = 8


@contextmanager
def unmasked_attention(model: PreTrainedModel, length: int) -> Iterator[None]:
    """Skips the attention mask of texts of up to `length` tokens, where it changes nothing."""
    # transformers checks the ids for padding, to warn of it: another wait for nothing
    body = _body(model)
    vars(body).setdefault("warn_if_padding_and_no_attention_mask", _no_warning)
    attention = body.config._attn_implementation
    if attention != "sdpa" or length > unmasked_context(model):
        yield
        return
    AttentionInterface.register(UNMASKED, sdpa_attention_forward)
    with attention_function(model, UNMASKED):
        yield


def _no_warning(*_: Tensor | None) -> None:
    """Stands in for the check of padding."""


@contextmanager
def attention_function(model: PreTrainedModel, name: str) -> Iterator[None]:
    """Computes attention, and its mask, by the functions that are registered under a name."""
    config = _body(model).config
    before, config._attn_implementation = config._attn_implementation, name
    try:
        yield
    finally:
        config._attn_implementation = before


def _body(model: PreTrainedModel) -> PreTrainedModel:
    assert isinstance(model.base_model, PreTrainedModel)
    return model.base_model


def unmasked_context(model: PreTrainedModel) -> float:
    """The longest text for which a model's mask is causal and no more; 0 if it never is.

    Measured by a forward pass at the first call; copies of the model share the result.
    """
    return measured_once(model, "unmasked_context", _measure_unmasked_context)


def _measure_unmasked_context(model: PreTrainedModel) -> float:
    windows: list[float] = []
    # families of older code compare the names of attention functions
    attention = _body(model).config._attn_implementation
    if attention != "sdpa" or not model._can_set_attn_implementation():
        return 0

    def record_window(
        *, allow_is_causal_skip: bool, local_size: int | None = None, **rest: Any
    ) -> Tensor | None:
        """The usual mask; the sliding window that it is made for is recorded."""
        windows.append((local_size or math.inf) if allow_is_causal_skip else 0)
        return sdpa_mask(allow_is_causal_skip=allow_is_causal_skip, local_size=local_size, **rest)

    AttentionInterface.register(RECORDING, sdpa_attention_forward)
    AttentionMaskInterface.register(RECORDING, record_window)
    ids = torch.arange(PROBE_TOKENS, device=model.device)[None]
    with attention_function(model, RECORDING), probe_pass(model):
        model.base_model(input_ids=ids, use_cache=False)
    return min(windows, default=0)
