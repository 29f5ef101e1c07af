"""How many texts are written side by side: what the machine has room for.

A GPU's step is captured for one number of slots of one length, which takes seconds. So the last
decoder is kept for the next call, and is made anew only to be larger: training writes with the same
models at every step, of prompts that are never of the same lengths.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from pipeline.generation.engine import GRAIN, GenerationEngine, length_buckets
from pipeline.generation.sampling import SpeculativeSampler, TokenSampler

BATCH_TOKENS = 16_384  # prompt and response positions held in the KV cache at once, on a CPU
GPU_SHARE = 0.1  # of a GPU's memory, for KV caches and distributions
OUTCOME_BYTES = 32  # of a distribution: logits, probabilities, and what a draw makes of them
SLOT_RANGE = 0.5  # a text takes no slot that is more than twice as long as need be
WORTH_MAKING = 2  # so many times the slots are worth a decoder of shorter ones

Most = Callable[[int], int]  # the most slots of a length that there is memory for


@dataclass(frozen=True)
class EngineSize:
    """The sizes of a decoder."""

    count: int
    length: int  # of a slot: prompt and response
    time: int  # of a response

    def holds(self, other: "EngineSize") -> bool:
        """Whether whatever fits there fits here."""
        return self.count >= other.count and self.length >= other.length and self.time >= other.time


_LAST_ENGINE: dict[tuple[object, ...], tuple[EngineSize, GenerationEngine]] = {}  # at most one


def length_groups(models: Sequence[PreTrainedModel], lengths: Sequence[int]) -> Iterator[range]:
    """Ranges of descending lengths that are written one after the other, each in slots of its own.

    Where a GPU has room for all of them in the longest slots they are one: a decoder is not made
    anew for shorter slots, and texts that wait for others take steps of their own.
    """
    if lengths and _on_gpu(models) and _most(models, _whole_grains(lengths[0])) >= len(lengths):
        yield range(len(lengths))
    else:
        yield from length_buckets(lengths, SLOT_RANGE, float("inf"))


def engine_for(
    models: Sequence[PreTrainedModel],
    choose: TokenSampler | SpeculativeSampler,
    *,
    texts: int,
    length: int,
    time: int,
) -> GenerationEngine:
    """Slots for as many of the texts, up to `length` tokens long, as there is room for."""
    if not _on_gpu(models):
        if isinstance(
            choose, SpeculativeSampler
        ):  # arithmetic is dear here, and that on refused tokens lost
            choose = choose.token_by_token
        count = min(texts, max(1, BATCH_TOKENS // length))
        return GenerationEngine(models, choose, count=count, length=length, time=time)
    count = 1 << (texts - 1).bit_length()  # a few texts more or less need no new capture
    asked = EngineSize(count, _whole_grains(length), _whole_grains(time))
    return reuse_engine(models, choose, asked, lambda size: _most(models, size))


def reuse_engine(
    models: Sequence[PreTrainedModel],
    choose: TokenSampler | SpeculativeSampler,
    asked: EngineSize,
    most: Most,
) -> GenerationEngine:
    """The last decoder, if it is of these models and has room; else one with room for both."""
    key = (*models, choose)
    old = _LAST_ENGINE[key][0] if key in _LAST_ENGINE else None
    wanted = size_with_room_for(old, asked, most)
    if old is None or not old.holds(wanted):
        _LAST_ENGINE.clear()  # before there is another one: the memory is for one
        sizes = {"count": wanted.count, "length": wanted.length, "time": wanted.time}
        _LAST_ENGINE[key] = wanted, GenerationEngine(models, choose, **sizes)
    decoder = _LAST_ENGINE[key][1]
    decoder.refresh()
    return decoder


def size_with_room_for(old: EngineSize | None, asked: EngineSize, most: Most) -> EngineSize:
    """Room for what is asked, and for what there was room for if that is no great hindrance.

    Slots that are longer than need be leave memory for fewer of them. That matters to a call with
    more texts than slots, which is long enough for a decoder of its own.
    """
    alone = EngineSize(min(asked.count, most(asked.length)), asked.length, asked.time)
    if old is None:
        return alone
    length, time = max(old.length, asked.length), max(old.time, asked.time)
    both = EngineSize(min(max(old.count, asked.count), most(length)), length, time)
    return alone if WORTH_MAKING * both.count < alone.count else both


def _on_gpu(models: Sequence[PreTrainedModel]) -> bool:
    return models[0].device.type == "cuda"


def _whole_grains(length: int) -> int:
    return -(-length // GRAIN) * GRAIN


def _most(models: Sequence[PreTrainedModel], length: int) -> int:
    memory = torch.cuda.get_device_properties(models[0].device).total_memory
    return max(1, int(GPU_SHARE * memory / slot_bytes(models, length)))


def slot_bytes(models: Sequence[PreTrainedModel], length: int) -> int:
    """Bytes of a text that is written by several models, in bfloat16."""
    total = 0
    for config in (model.config for model in models):
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        keys_and_values = 2 * 2 * config.num_hidden_layers * heads * size
        total += length * keys_and_values + OUTCOME_BYTES * config.vocab_size
    return total
