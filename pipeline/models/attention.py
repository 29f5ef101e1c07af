"""Attention without a mask, for texts that are read whole: padded at the right, they need none.

transformers looks at the positions whenever it is given no mask, which makes the host wait for a
GPU, and makes a mask whenever it is traced, with which attention is slower. An attention that has
no function for masks is spared both. That is right where a model's attention is causal and nothing
else, or where a text is no longer than the window that its layers look back.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from pipeline.models.probing import probing

UNMASKED, WATCHED = "sdpa_unmasked", "sdpa_watched"
PROBED_TOKENS = 8


@contextmanager
def unmasked_attention(model: PreTrainedModel, length: int) -> Iterator[None]:
    """Lets a model read texts of up to so many tokens without a mask, where that is the same."""
    # transformers looks for padding among the ids, to warn of it: another wait for nothing
    vars(model.base_model).setdefault("warn_if_padding_and_no_attention_mask", _unwarned)
    usual = model.base_model.config._attn_implementation
    if usual != "sdpa" or length > unmasked_context(model):
        yield
        return
    AttentionInterface.register(UNMASKED, sdpa_attention_forward)
    with _named(model, UNMASKED):
        yield


def _unwarned(*_: Tensor | None) -> None:
    """No warning."""


@contextmanager
def _named(model: PreTrainedModel, attention: str) -> Iterator[None]:
    usual = model.base_model.config._attn_implementation
    model.base_model.config._attn_implementation = attention
    try:
        yield
    finally:
        model.base_model.config._attn_implementation = usual


def unmasked_context(model: PreTrainedModel) -> float:
    """Up to how many tokens a model's mask says "causal" and no more; 0 where it never does.

    Read off the masks that it asks for, when this is first asked; copies of the model have it too.
    """
    held = vars(model)
    if "unmasked_reach" not in held:
        held["unmasked_reach"] = _measured(model)
    return held["unmasked_reach"]


def _measured(model: PreTrainedModel) -> float:
    windows: list[float] = []
    # a family of older code knows the names of attention by heart
    usual = model.base_model.config._attn_implementation
    if usual != "sdpa" or not model._can_set_attn_implementation():
        return 0

    def watched(*shape: int, allow_is_causal_skip: bool, **rest: object) -> Tensor | None:
        windows.append((rest.get("local_size") or math.inf) if allow_is_causal_skip else 0)
        return sdpa_mask(*shape, allow_is_causal_skip=allow_is_causal_skip, **rest)

    AttentionInterface.register(WATCHED, sdpa_attention_forward)
    AttentionMaskInterface.register(WATCHED, watched)
    ids = torch.arange(PROBED_TOKENS, device=model.device)[None]
    with _named(model, WATCHED), probing(model):
        model.base_model(input_ids=ids, use_cache=False)
    return min(windows, default=0)
