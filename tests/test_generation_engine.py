"""Decoders that are kept for the next call: made seldom, of the right size, and freed."""

import gc
import weakref
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from players import END, llama, texts
from transformers import PreTrainedModel

from pipeline.data.batch import Text
from pipeline.data_policies import speculative
from pipeline.generation import generate, sampler
from pipeline.generation.capacity import length_groups, reuse_engine, size_with_room_for
from pipeline.generation.cuda_graph import capture_cuda_graph
from pipeline.generation.engine import EngineSize, GenerationEngine
from pipeline.generation.slots import Prompt, Response, uniforms
from pipeline.models.language_model import end_ids
from pipeline.runtime.costs import GRAPH_CAPTURES
from pipeline.settings.generation import Sampling


def some(_: int) -> int:
    """Memory for many slots of any length."""
    return 4096


def tenth_of_80_gb(length: int) -> int:
    """Slots of a model of 135M parameters: 23,040 bytes a position, and its distribution."""
    return int(8e9 / (23_040 * length + 32 * 49_152))


def makings(calls: Sequence[EngineSize]) -> int:
    """How often a decoder is made for one call after the other."""
    room, made = None, 0
    for asked in calls:
        wanted = size_with_room_for(room, asked, tenth_of_80_gb)
        if room is None or not room.fits(wanted):
            room, made = wanted, made + 1
    return made


def dolly_like(steps: int, new: int, batch: int = 32) -> list[EngineSize]:
    """What is asked of a GPU at each step: prompts of some 20 to 900 tokens, mostly short ones."""
    rng = np.random.default_rng(0)
    prompts = rng.lognormal(4.2, 0.9, (steps, batch)).clip(10, 900).astype(int)
    longest = -(-(prompts.max(1) + new) // 64) * 64
    return [EngineSize(batch, int(length), new) for length in longest]


@pytest.mark.parametrize("new", [32, 64, 256])
def test_training_makes_a_decoder_when_a_longer_text_comes_and_else_keeps_it(new: int) -> None:
    calls = dolly_like(400, new)
    records = np.unique(np.maximum.accumulate([call.length for call in calls]))
    assert len({call.length for call in calls}) > 8  # the lengths change all the time
    assert makings(calls) == len(records) <= 5


def test_a_count_that_changes_makes_no_decoder_once_the_most_was_there() -> None:
    calls = [EngineSize(1 << index % 6, 256, 64) for index in range(5, 400)]
    assert makings(calls) == 1


def test_stop_strings_make_one_decoder_for_the_longest_stretch() -> None:
    # greedy text with stop strings is written on for 32, 32, 64 and 128 tokens
    chunk = [
        EngineSize(1024, 256 + read, new) for read, new in ((0, 32), (32, 32), (64, 64), (128, 128))
    ]
    rooms = [size_with_room_for(None, chunk[0], some)]
    for asked in (*chunk[1:], *chunk, *chunk):
        rooms.append(size_with_room_for(rooms[-1], asked, some))
    grew = sum(before != after for before, after in pairwise(rooms))
    assert grew == 3  # in the first chunk, never again
    assert rooms[-1] == EngineSize(1024, 384, 128)


def test_long_slots_are_given_up_only_where_they_leave_too_few_for_many_texts() -> None:
    long = size_with_room_for(None, EngineSize(64, 4096, 64), tenth_of_80_gb)
    assert size_with_room_for(long, EngineSize(32, 256, 64), tenth_of_80_gb).length == 4096
    many = size_with_room_for(long, EngineSize(1024, 256, 64), tenth_of_80_gb)
    assert many == EngineSize(1024, 256, 64)


def test_texts_on_a_cpu_take_no_slots_more_than_twice_as_long_as_need_be() -> None:
    lengths = [900, 600, 460, 440, 300, 200]
    assert list(length_groups([llama(1)], lengths)) == [range(3), range(3, 5), range(5, 6)]


def test_a_few_short_texts_on_a_cpu_are_generated_together_whatever_their_lengths() -> None:
    lengths = [90, 60, 46, 44, 30, 20]
    assert list(length_groups([llama(1)], lengths)) == [range(6)]


def answered(decoder: GenerationEngine, asked: Sequence[Text], time: int) -> list[Response]:
    prompts = [Prompt(text.prompt_ids, uniforms(3, text.example_id, time)) for text in asked]
    decoder.add(range(len(asked)), prompts)
    while any(decoder.advance()):
        pass
    return decoder.responses(range(len(asked)))


@pytest.mark.parametrize("drafts", [False, True])
@torch.no_grad()
def test_a_kept_decoder_of_more_room_writes_the_same_texts(drafts: bool) -> None:
    models: list[PreTrainedModel] = [llama(1), llama(2)] if drafts else [llama(1)]
    policy = speculative.Policy(top=12, student_temperature=1.0, student_top_p=1.0)
    choose = policy.draft() if drafts else sampler(Sampling())
    large, small = EngineSize(16, 64, 20), EngineSize(8, 32, 9)
    decoder = reuse_engine(models, choose, large, some)
    answered(decoder, sorted(texts(16), key=lambda text: -len(text.prompt_ids)), 20)

    asked = sorted(texts(5), key=lambda text: -len(text.prompt_ids))
    assert reuse_engine(models, choose, small, some) is decoder
    answers = answered(decoder, asked, 9)
    expected = generate(asked, models, choose, 9, 3, "student")
    assert [text.tokens for text in answers] == [text.response_ids for text in expected]
    assert max(len(text.tokens) for text in answers) == 9
    assert reuse_engine(models, choose, EngineSize(8, 128, 9), some) is not decoder


@torch.no_grad()
def test_a_decoder_is_freed_with_its_last_user() -> None:
    gc.collect()
    gc.disable()
    try:
        decoder = GenerationEngine([llama(1)], sampler(Sampling()), EngineSize(4, 32, 8))
        answered(decoder, texts(2), 8)
        gone = weakref.ref(decoder)
        del decoder
        assert gone() is None
    finally:
        gc.enable()


def test_running_out_of_memory_is_no_reason_to_go_on_without_a_graph() -> None:
    def compiled(_: bool) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        capture_cuda_graph(lambda: None, compiled)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU captures the step")
def test_whether_steps_are_captured_and_why_not_is_on_record() -> None:
    before = GRAPH_CAPTURES.failed
    assert capture_cuda_graph(lambda: None, lambda _: None) is None
    assert GRAPH_CAPTURES.failed == before + 1
    assert str(GRAPH_CAPTURES.reason).startswith(
        "the step as it is can't be captured in a CUDA graph: "
    )


def test_layers_may_have_as_many_compiled_variants_as_a_process_of_several_models_needs() -> None:
    before = torch._dynamo.config.recompile_limit
    try:
        torch._dynamo.config.recompile_limit = 8  # torch's own, which some jobs don't raise
        decoder = GenerationEngine([llama(1)], sampler(Sampling()), EngineSize(2, 16, 4))
        decoder._compile(wanted=False)
        assert torch._dynamo.config.recompile_limit >= 32
        torch._dynamo.config.recompile_limit = 100
        decoder._compile(wanted=False)
        assert torch._dynamo.config.recompile_limit == 100
    finally:
        torch._dynamo.config.recompile_limit = before


@pytest.mark.parametrize(
    ("stated", "ends"),
    [(7, (7,)), ([0, 7], (0, 7)), ([], ()), (None, (END,))],
    ids=["one", "several", "none", "not stated"],
)
def test_what_ends_a_text_stands_in_the_generation_config(
    stated: int | list[int] | None, ends: tuple[int, ...]
) -> None:
    model = llama(1)
    model.generation_config.eos_token_id = stated
    assert end_ids(model) == ends
