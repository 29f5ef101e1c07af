"""How many sequences an engine holds at once: as many as there is memory for.

A GPU's decoding step is captured for one number of slots of one length, which takes seconds. So the
last engine is kept for the next call, and is replaced only by a larger one: training generates with
the same models at every step, from prompts whose lengths always differ.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from transformers import PreTrainedModel

from pipeline.generation.engine import LENGTH_GRAIN, EngineSize, GenerationEngine, length_buckets
from pipeline.generation.sampling import AnySampler, SpeculativeSampler
from pipeline.generation.transformers_forward import kv_numbers
from pipeline.settings.memory import BATCH_TOKENS, KV_CACHE_SHARE

VOCABULARY_BYTES = 32  # per entry of a distribution: logits, probabilities and sampling buffers
SLOT_RANGE = 0.5  # no sequence takes a slot more than twice as long as it needs
CPU_POSITIONS = 4096  # of slots that one engine has whatever the lengths of its sequences
WORTH_REPLACING = 2  # how many times the slots justify an engine with shorter ones

MaxSlots = Callable[[int], int]  # the most slots of a length that there is memory for


_LAST_ENGINE: dict[tuple[object, ...], GenerationEngine] = {}  # at most one


def length_groups(models: Sequence[PreTrainedModel], lengths: Sequence[int]) -> Iterator[range]:
    """Ranges of descending lengths that are generated one after the other, each by one engine.

    There is one range where a GPU has room for all in slots of the longest length: an engine for
    shorter slots would take longer to make, and sequences that wait for others add steps. On a CPU
    it is one where all slots are small together: a step takes about as long for a few sequences
    more, so that two ranges take twice the time of one.
    """
    if lengths and len(lengths) <= _slots_of_one_range(models, lengths[0]):
        yield range(len(lengths))
    else:
        yield from length_buckets(lengths, SLOT_RANGE, float("inf"))


def engine_for(
    models: Sequence[PreTrainedModel], token_sampler: AnySampler, wanted: EngineSize
) -> GenerationEngine:
    """An engine of the wanted size, with fewer slots where no more fit into memory."""
    if not _on_gpu(models):
        if isinstance(token_sampler, SpeculativeSampler):
            token_sampler = token_sampler.token_by_token  # a CPU has no arithmetic to waste
        slots = min(wanted.slots, max(1, BATCH_TOKENS // wanted.length))
        return GenerationEngine(models, token_sampler, replace(wanted, slots=slots))
    slots = 1 << (wanted.slots - 1).bit_length()  # a few sequences more or less need no new capture
    wanted = EngineSize(slots, _rounded(wanted.length), _rounded(wanted.max_new_tokens))
    return reuse_engine(models, token_sampler, wanted, lambda length: _max_slots(models, length))


def reuse_engine(
    models: Sequence[PreTrainedModel],
    token_sampler: AnySampler,
    wanted: EngineSize,
    max_slots: MaxSlots,
) -> GenerationEngine:
    """The last engine, if it has these models and is large enough; else a new one."""
    key = (*models, token_sampler)
    old = _LAST_ENGINE[key].size if key in _LAST_ENGINE else None
    size = size_with_room_for(old, wanted, max_slots)
    if old is None or not old.fits(size):
        _LAST_ENGINE.clear()  # first, because there is memory for one
        _LAST_ENGINE[key] = GenerationEngine(models, token_sampler, size)
    engine = _LAST_ENGINE[key]
    engine.reset()
    return engine


def size_with_room_for(
    old: EngineSize | None, wanted: EngineSize, max_slots: MaxSlots
) -> EngineSize:
    """The wanted size, enlarged to the old one unless that costs more than half of the slots.

    Slots longer than needed leave memory for fewer of them. That matters to a call with more
    sequences than slots, which takes long enough for an engine of its own.
    """
    alone = replace(wanted, slots=min(wanted.slots, max_slots(wanted.length)))
    if old is None:
        return alone
    length = max(old.length, wanted.length)
    max_new_tokens = max(old.max_new_tokens, wanted.max_new_tokens)
    both = EngineSize(min(max(old.slots, wanted.slots), max_slots(length)), length, max_new_tokens)
    return alone if WORTH_REPLACING * both.slots < alone.slots else both


def _on_gpu(models: Sequence[PreTrainedModel]) -> bool:
    return models[0].device.type == "cuda"


def _rounded(length: int) -> int:
    return -(-length // LENGTH_GRAIN) * LENGTH_GRAIN


def _slots_of_one_range(models: Sequence[PreTrainedModel], length: int) -> int:
    return _max_slots(models, _rounded(length)) if _on_gpu(models) else CPU_POSITIONS // length


def _max_slots(models: Sequence[PreTrainedModel], length: int) -> int:
    memory = torch.cuda.get_device_properties(models[0].device).total_memory
    return max(1, int(KV_CACHE_SHARE * memory / slot_bytes(models, length)))


def slot_bytes(models: Sequence[PreTrainedModel], length: int) -> int:
    """Bytes of a slot, in bfloat16, for a sequence that several models decode."""
    return sum(
        2 * length * kv_numbers(model) + VOCABULARY_BYTES * model.config.vocab_size
        for model in models
    )
