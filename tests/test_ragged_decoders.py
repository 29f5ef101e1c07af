"""Texts read side by side, each at its own place, as the models' own forward reads them alone."""

from functools import partial

import pytest
import torch
from test_paper_models import family
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from benchmarks import tiny_families
from pipeline.generation.engine import supports_ragged_batches
from pipeline.generation.llama_forward import LlamaDecoder, is_supported
from pipeline.generation.transformers_forward import TransformersDecoder, kv_numbers
from pipeline.models.lora import attach
from pipeline.settings.training import Lora

SHAPE = {
    "vocab_size": 97,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
CONFIGS = {
    "llama": LlamaConfig(**SHAPE, tie_word_embeddings=False),
    "llama with biases and tied embeddings": LlamaConfig(
        **SHAPE, attention_bias=True, mlp_bias=True, tie_word_embeddings=True
    ),
    "llama with heads of their own size": LlamaConfig(**SHAPE, head_dim=10),
    "llama 3's rotary positions": LlamaConfig(**SHAPE, rope_parameters=LLAMA3),
    "qwen2": Qwen2Config(**SHAPE),
}
FAMILIES = ("gpt2", "opt", "opt-350m", "pythia")
PROMPTS = (9, 5, 2, 1)
NEW = 6
ROOM = 20  # places of a slot: more than any text needs


def model_of(name: str) -> PreTrainedModel:
    """A tiny model whose weights all have an effect."""
    if name in FAMILIES:
        return family(name)
    torch.manual_seed(0)
    config = CONFIGS[name]
    kind = LlamaForCausalLM if isinstance(config, LlamaConfig) else Qwen2ForCausalLM
    model = kind(config).eval()
    for weight in model.parameters():  # fresh biases are zero, fresh norms one: of no effect
        weight.data.add_(0.1 * torch.randn_like(weight))
    return model


class Readers:
    """Some texts part way through, NEW of their tokens not yet read; all but the last prompt's."""

    def __init__(self, model: PreTrainedModel, prompts: tuple[int, ...] = PROMPTS, seed: int = 1):
        kind = LlamaDecoder if is_supported(model) else TransformersDecoder
        self.model, self.reader = model, kind(model, len(prompts), ROOM, model.dtype)
        self.texts = [torch.empty(0)] * len(prompts)
        self.read = torch.zeros(len(prompts), dtype=torch.long)
        self.begin(list(range(len(prompts))), prompts, seed)

    def begin(self, rows: list[int], prompts: tuple[int, ...], seed: int) -> None:
        """Puts new texts into slots."""
        rng, words = torch.Generator().manual_seed(seed), self.model.config.vocab_size
        starts = torch.zeros(len(rows), max(prompts) - 1, dtype=torch.long)
        for index, (row, length) in enumerate(zip(rows, prompts, strict=True)):
            self.texts[row] = torch.randint(0, words, (length + NEW,), generator=rng)
            starts[index, : length - 1] = self.texts[row][: length - 1]
            self.read[row] = length - 1
        self.reader.prefill(torch.tensor(rows), starts)

    def assert_reads(self, count: int) -> None:
        """The next tokens of each text are predicted as in the text alone."""
        ids = torch.stack(
            [text[place : place + count] for text, place in zip(self.texts, self.read, strict=True)]
        )
        logits = self.reader.decode(ids, self.read, int(self.read.max()) + count)
        self.read += count
        for text, read, logit in zip(self.texts, self.read, logits, strict=True):
            expected = self.model(text[None, :read]).logits[0, -count:]
            # float32 sums in another order
            torch.testing.assert_close(logit, expected, atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize("name", [*CONFIGS, *FAMILIES])
@torch.no_grad()
def test_tokens_one_by_one_and_several_at_once_are_predicted_as_in_the_text_alone(name: str):
    read = Readers(model_of(name))
    for count in (1, 3, 1, 2):
        read.assert_reads(count)


@pytest.mark.parametrize("name", ["qwen2", "gpt2"])
@torch.no_grad()
def test_a_slot_takes_another_text_while_the_others_go_on(name: str):
    read = Readers(model_of(name))
    read.assert_reads(3)
    read.begin([2, 0], (4, 7), seed=2)
    read.assert_reads(3)


@pytest.mark.parametrize("name", ["qwen2", "gpt2"])
@torch.no_grad()
def test_going_back_to_an_earlier_token_leaves_no_trace(name: str):
    read = Readers(model_of(name))
    rest = [text.clone() for text in read.texts]
    for text, position in zip(read.texts, read.read, strict=True):
        text[position + 1 : position + 4] += 1
        text %= read.model.config.vocab_size
    read.assert_reads(4)
    read.read -= 3
    for row, text in enumerate(rest):
        read.texts[row][read.read[row] :] = text[read.read[row] :]
    read.assert_reads(2)


@pytest.mark.parametrize("name", ["qwen2", "gpt2"])
@torch.no_grad()
def test_texts_that_are_kept_go_on_as_before(name: str):
    read = Readers(model_of(name))
    read.assert_reads(1)
    kept = torch.tensor([3, 0])
    read.reader.select(kept)
    read.texts, read.read = [read.texts[3], read.texts[0]], read.read[kept]
    read.assert_reads(2)


@torch.no_grad()
def test_an_adapter_is_read_with_its_layer():
    model = model_of("llama")
    for weight in attach(model, Lora(rank=2, alpha=2.0), seed=0):
        weight.data.add_(0.3)
    plain, adapted = Readers(model_of("llama")), Readers(model)
    adapted.assert_reads(1)
    ids = torch.stack([text[place] for text, place in zip(plain.texts, plain.read, strict=True)])
    before = plain.reader.decode(ids[:, None], plain.read, ROOM)
    assert not torch.allclose(
        before, adapted.reader.decode(ids[:, None], plain.read, ROOM), atol=1e-2
    )


@torch.no_grad()
def test_bfloat16_weights_are_read_as_near_as_their_own_forward_is():
    exact, model = model_of("llama"), model_of("llama").bfloat16()
    read = Readers(model, (5, 5, 5))
    ids = torch.stack([text[4:5] for text in read.texts])
    logits = read.reader.decode(ids, read.read, ROOM)[:, 0]
    whole = torch.stack([text[:5] for text in read.texts])
    expected = exact(whole).logits[:, -1]
    own = (model(whole).logits[:, -1] - expected).abs().max()
    assert (logits - expected).abs().max() <= 2 * own  # both round at other places


YARN = {"rope_type": "yarn", "rope_theta": 10_000.0, "factor": 2.0}
OTHERS = {
    "a window in some layers": lambda: Qwen2ForCausalLM(
        Qwen2Config(**SHAPE, use_sliding_window=True, sliding_window=4, max_window_layers=1)
    ),
    "yarn": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE, rope_parameters=YARN)),
    **{
        family: partial(tiny_families.model_of, family)
        for family in ("mistral", "gemma2", "gemma3_text", "phi3", "smollm3", "gpt_oss", "cohere2")
    },
}


@pytest.mark.parametrize("name", OTHERS)
@torch.no_grad()
def test_windows_and_other_arithmetic_are_decoded_by_transformers(name: str):
    model = OTHERS[name]()
    assert not is_supported(model)
    assert supports_ragged_batches(model)
    config = model.config.get_text_config()
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    keys_and_values = 2 * config.num_hidden_layers * config.num_key_value_heads * size
    assert kv_numbers(model) == keys_and_values
    read = Readers(model)
    for count in (1, 3, 1, 1):  # the longest text goes beyond its window, one of 4 or 8 positions
        read.assert_reads(count)


def test_rotations_and_states_that_need_a_batch_of_one_length_are_left_to_the_fallback():
    dynamic = {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 2.0}
    models = [
        LlamaForCausalLM(LlamaConfig(**SHAPE, rope_parameters=dynamic)),
        *map(tiny_families.model_of, ("bloom", "falcon_h1", "lfm2", "mamba2")),
    ]
    assert not any(map(supports_ragged_batches, models))


@torch.no_grad()
def test_caches_that_grow_hold_what_was_read_before():
    model = model_of("llama")
    ids = torch.randint(97, (2, 50), generator=torch.Generator().manual_seed(0))
    reader = LlamaDecoder(model, 2, 50, model.dtype)
    lengths = set()
    for index in range(50):
        logits = reader.decode(ids[:, index : index + 1], torch.full((2,), index), index + 1)
        lengths.add(reader.length)
    assert len(lengths) > 2
    # float32 sums in another order
    torch.testing.assert_close(logits[:, 0], model(ids).logits[:, -1], atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize("hooked", [False, True])
@torch.no_grad()
def test_what_a_hook_does_to_a_layer_is_done_in_writing_too(hooked: bool):
    model = model_of("llama")
    if hooked:
        model.base_model.layers[1].self_attn.v_proj.register_forward_hook(
            lambda _, __, output: output + 1
        )
    read = Readers(model)
    assert bool(read.reader.fused) is not hooked
    read.assert_reads(1)
    read.assert_reads(1)
