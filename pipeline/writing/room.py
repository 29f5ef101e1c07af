"""How many texts are written side by side: what the machine has room for.

A GPU's step is captured for one number of slots of one length, which takes seconds. So the last
decoder is kept for the next call: training writes with the same models at every step.
"""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from pipeline.writing.choices import Choose, Drafted
from pipeline.writing.decoder import GRAIN, Decoder

BATCH_TOKENS = 16_384  # prompt and response positions held in the KV cache at once, on a CPU
GPU_SHARE = 0.1  # of a GPU's memory, for KV caches and distributions
OUTCOME_BYTES = 32  # of a distribution: logits, probabilities, and what a draw makes of them

_KEPT: dict[tuple[object, ...], Decoder] = {}  # at most one


def decoder_for(
    models: Sequence[PreTrainedModel],
    choose: Choose | Drafted,
    *,
    texts: int,
    length: int,
    time: int,
) -> Decoder:
    """Slots for as many of the texts, up to `length` tokens long, as there is room for."""
    if models[0].device.type != "cuda":
        if isinstance(choose, Drafted):  # arithmetic is dear here, and that on refused tokens lost
            choose = choose.token_by_token
        count = min(texts, max(1, BATCH_TOKENS // length))
        return Decoder(models, choose, count=count, length=length, time=time)
    length = -(-length // GRAIN) * GRAIN
    memory = torch.cuda.get_device_properties(models[0].device).total_memory
    most = max(1, int(GPU_SHARE * memory / slot_bytes(models, length)))
    wanted = 1 << (texts - 1).bit_length()  # a few texts more or less need no new capture
    return _kept(models, choose, count=min(wanted, most), length=length, time=time)


def slot_bytes(models: Sequence[PreTrainedModel], length: int) -> int:
    """Bytes of a text that is written by several models, in bfloat16."""
    total = 0
    for config in (model.config for model in models):
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        keys_and_values = 2 * 2 * config.num_hidden_layers * heads * size
        total += length * keys_and_values + OUTCOME_BYTES * config.vocab_size
    return total


def _kept(
    models: Sequence[PreTrainedModel],
    choose: Choose | Drafted,
    *,
    count: int,
    length: int,
    time: int,
) -> Decoder:
    key = (*models, choose, time)
    if key not in _KEPT or _KEPT[key].slots.count < count or _KEPT[key].length < length:
        _KEPT.clear()  # before there is another one: the memory is for one
        _KEPT[key] = Decoder(models, choose, count=count, length=length, time=time)
    _KEPT[key].refresh()
    return _KEPT[key]
